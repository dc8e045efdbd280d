//! TLS for clients that speak none: a port on this machine whose connections go on encrypted.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// A tunnel to one server. When dropped, it and its connections are gone.
#[derive(Debug)]
pub struct TlsTunnel {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsTunnel {
    /// Opens a tunnel to `server` (`HOST:PORT`), whose certificate must be for `name` and signed by `authority` (PEM), and which must
    /// agree to speak `protocol` where one is given: `h2` for gRPC. The server is tried once, so that a tunnel that is open works.
    ///
    /// # Errors
    /// No port is free, or the server does not answer as wanted.
    pub async fn open(
        server: &str,
        name: &str,
        authority: &str,
        protocol: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let mut config = ClientConfig::builder_with_provider(crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocol.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let peer = Arc::new(Peer {
            server: server.to_owned(),
            name: ServerName::try_from(name.to_owned())?,
            connector: TlsConnector::from(Arc::new(config)),
        });
        let tried = peer.connect().await?;
        let agreed = tried.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        ensure!(agreed.as_deref() == protocol.map(str::as_bytes), "{server} speaks {agreed:?}");
        drop(tried);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let peer = Arc::clone(&peer);
                connections.spawn(async move {
                    // What fails closes the client's connection, as the server itself would.
                    if let Ok(mut server) = peer.connect().await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task })
    }

    /// Where clients connect in plain text.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsTunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server and what it must prove.
struct Peer {
    server: String,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Peer {
    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.server).await;
        let stream = stream.with_context(|| format!("no connection to {}", self.server))?;
        let stream = self.connector.connect(self.name.clone(), stream).await;
        stream.with_context(|| format!("no TLS with {}", self.server))
    }
}
