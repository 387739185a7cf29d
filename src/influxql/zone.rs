//! Time zones by the names `tz()` takes.

use jiff::tz::TimeZone;

/// The zone called `name`, letter case included. Empty is UTC; `Local` is the server's own.
pub fn find(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        "Local" => Some(TimeZone::system()),
        _ => TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn names_are_those_of_the_zone_database() {
        for name in ["", "UTC", "Local", "America/New_York", "Etc/GMT+5", "CET"] {
            assert!(find(name).is_some(), "{name}");
        }
        for name in ["america/new_york", "No/Such", "/etc/localtime", "../UTC"] {
            assert!(find(name).is_none(), "{name}");
        }
    }
}
