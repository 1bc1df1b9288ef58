//! The proxy's connections to a slot, as the kernel counts them.

use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};

use super::TrafficError;

/// Connections of this machine's programs to this port of its loopback address. Both ends of a
/// connection are listed where a program forwards the port; only the calling end is counted.
pub(super) fn established(port: u16) -> Result<usize, TrafficError> {
    let mut entries = tcp().map_err(TrafficError::Connections)?;
    // A machine without IPv6 has no such list.
    entries.extend(tcp6().unwrap_or_default());
    Ok(entries.iter().filter(|entry| goes_to(entry, port)).count())
}

fn goes_to(entry: &TcpNetEntry, port: u16) -> bool {
    let remote = entry.remote_address;
    entry.state == TcpState::Established
        && remote.port() == port
        && remote.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::established;

    #[tokio::test]
    async fn the_calling_ends_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(established(address.port()).unwrap(), 0);
        let calling = TcpStream::connect(address).await.unwrap();
        let (answering, _) = listener.accept().await.unwrap();
        assert_eq!(established(address.port()).unwrap(), 1);
        drop((calling, answering));
        assert_eq!(established(address.port()).unwrap(), 0);
    }
}
