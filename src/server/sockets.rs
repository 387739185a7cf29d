//! The sockets that clients connect to, bound before any executor runs.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::options::UdpOptions;
use crate::config::options::UnixSocketOptions;
use crate::server::checks;

/// All of them.
#[derive(Debug)]
pub struct Sockets {
    /// HTTP.
    pub tcp: TcpListener,
    /// HTTP on a socket in the file system.
    pub unix: Option<UnixSocket>,
    /// Line protocol in datagrams.
    pub udp: Vec<(UdpOptions, UdpSocket)>,
}

/// A listening socket in the file system; the file goes with it.
#[derive(Debug)]
pub struct UnixSocket {
    /// The listener.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Sockets {
    /// Binds what the settings ask for.
    pub fn bind(config: &Config, address: SocketAddr) -> Result<Sockets, String> {
        let tcp = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let unix = config.http.unix_socket.as_ref().map(|options| {
            bind_unix(options).map_err(|error| format!("cannot listen on {}: {error}", options.path.display()))
        });
        let udp = config.udp.iter().map(|options| Ok((options.clone(), bind_udp(options)?)));
        Ok(Sockets { tcp, unix: unix.transpose()?, udp: udp.collect::<Result<_, String>>()? })
    }
}

#[allow(clippy::disallowed_methods, reason = "before there is any executor")]
fn bind_unix(options: &UnixSocketOptions) -> io::Result<UnixSocket> {
    if let Some(folder) = options.path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(&options.path) {
        // Left by a server that was killed. Anything else than a socket is not ours to remove.
        Ok(found) if found.file_type().is_socket() => fs::remove_file(&options.path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&options.path)?;
    let socket = UnixSocket { listener, path: options.path.clone() };
    if options.mode != 0 {
        fs::set_permissions(&options.path, fs::Permissions::from_mode(options.mode))?;
    }
    if let Some(group) = &options.group {
        chown(&options.path, None, Some(group_id(group)?))?;
    }
    Ok(socket)
}

/// The number of a group given by name or number.
#[allow(clippy::disallowed_methods, reason = "before there is any executor")]
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")?;
    let number = groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        if parts.next() == Some(group) { parts.nth(1)?.parse().ok() } else { None }
    });
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group is called {group}")))
}

fn bind_udp(options: &UdpOptions) -> Result<UdpSocket, String> {
    let text = &options.bind_address;
    let bind = || -> io::Result<UdpSocket> {
        let socket = checks::addresses(text)?.iter().map(UdpSocket::bind).reduce(|first, next| first.or(next));
        let socket =
            socket.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))?;
        if let Ok(bytes @ 1..) = usize::try_from(options.read_buffer_bytes) {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        Ok(socket)
    };
    bind().map_err(|error| format!("cannot receive UDP on {text}: {error}"))
}

impl Drop for UnixSocket {
    #[allow(clippy::disallowed_methods, reason = "a name in a local file system, removed when the server stops")]
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}
