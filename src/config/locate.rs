//! Where the configuration file is: the flag, the environment, then two usual places.

use std::path::Path;
use std::path::PathBuf;

/// The file to read; `None` means built-in settings. `exists` is asked for the usual places only: a file that was
/// named and is missing is an error for whoever reads it.
pub fn path(
    flag: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|text| !text.is_empty());
    if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
        return (path != Path::new("/dev/null")).then(|| path.to_owned());
    }
    if let Some(path) = set("INFLUXDB_CONFIG_PATH") {
        return Some(PathBuf::from(path));
    }
    let home = set("HOME").unwrap_or_default();
    [PathBuf::from(format!("{home}/.influxdb/influxdb.conf")), PathBuf::from("/etc/influxdb/influxdb.conf")]
        .into_iter()
        .find(|path| exists(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: &str, variables: &[(&str, &str)], files: &[&str], expected: Option<&str>) {
        let environment =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let exists = |path: &Path| files.iter().any(|file| Path::new(file) == path);
        assert_eq!(path(Some(Path::new(flag)), &environment, &exists), expected.map(PathBuf::from));
    }

    #[test]
    fn the_file_is_looked_for_in_stocks_order() {
        let all = ["/h/.influxdb/influxdb.conf", "/etc/influxdb/influxdb.conf"];
        let home = ("HOME", "/h");
        check("a.conf", &[home, ("INFLUXDB_CONFIG_PATH", "b.conf")], &all, Some("a.conf"));
        check("", &[home, ("INFLUXDB_CONFIG_PATH", "b.conf")], &all, Some("b.conf"));
        check("", &[home], &all, Some(all[0]));
        check("", &[("HOME", "/other")], &all, Some(all[1]));
        check("", &[home], &[], None);
        check("/dev/null", &[home, ("INFLUXDB_CONFIG_PATH", "b.conf")], &all, None);
    }
}
