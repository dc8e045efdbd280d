//! A TCP proxy that can be cut: the network fault between a client and a server.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Connections are closed at once, those that exist too.
    Cut,
    /// Connections are accepted and stay open, and no byte passes.
    Stall,
}

/// A proxy on a loopback port of its own. When dropped, it and its connections are gone.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts a proxy to `target` that lets everything pass, in a task of the current tokio runtime.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((client, _)) = accepted {
                            connections.spawn(relay(client, target, modes.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, mode, task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to connections, from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until an end closes it or the proxy is cut.
async fn relay(mut client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    let mut server = None;
    loop {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Cut => return,
            Mode::Stall => {
                if modes.changed().await.is_err() {
                    return;
                }
            }
            Mode::Pass => {
                let mut open = match server.take() {
                    Some(open) => open,
                    None => match TcpStream::connect(target).await {
                        Ok(open) => open,
                        Err(_) => return,
                    },
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut open) => return,
                    // Bytes that were read and not yet written are lost: a stalled connection is not taken up again.
                    changed = modes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        server = Some(open);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::Method;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::http::Client;

    /// Answers every connection's first bytes with 200.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_pass_fail_and_hang_as_told() {
        let proxy = TcpProxy::start(server().await).await.unwrap();
        let mut client = Client::new(&format!("http://{}", proxy.address())).unwrap();
        let second = Duration::from_secs(10);
        client.get("/", second).await.unwrap();
        client.get("/", second).await.unwrap();
        proxy.set(Mode::Cut);
        client.get("/", second).await.unwrap_err();
        proxy.set(Mode::Stall);
        let hanging = client.send(Method::GET, "/", &[], "", Duration::from_millis(100)).await;
        assert!(hanging.unwrap_err().to_string().contains("no answer within"));
        proxy.set(Mode::Pass);
        client.get("/", second).await.unwrap();
    }
}
