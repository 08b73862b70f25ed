//! Dialling a peer: name resolution, TCP, TLS and the WebSocket handshake, within one time-out.
//!
//! A peer that a stranger's file named is never dialled at a loopback or private address, whatever
//! its host name resolves to.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, client_async_with_config};
use url::Url;

use super::connection::Connection;
use super::limits::{ADDRESSES, BETWEEN_ADDRESSES, MESSAGE, READ_AT_ONCE, UNSENT};
use super::metered::Metered;
use super::room::Room;
use crate::node::address::is_local_ip;

/// Where and how a peer is dialled.
#[derive(Debug, Clone)]
pub struct Dialler {
    /// `ws://` or `wss://`.
    pub url: Url,
    /// Whether loopback and private addresses may be dialled.
    pub allow_local: bool,
    /// For everything from name resolution to the end of the handshake.
    pub time_out: Duration,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConnectError {
    #[error("no connection within {0} s")]
    TimedOut(u64),
    #[error("the URL has no host or port")]
    NoHost,
    #[error("cannot resolve {host}: {}", cause_of(source))]
    Resolve { host: String, source: io::Error },
    #[error(
        "{host} has only loopback or private addresses, which are not dialled for a peer that a swarm file names (--allow-local-peers permits it)"
    )]
    LocalAddress { host: String },
    #[error("cannot connect to {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("WebSocket handshake: {0}")]
    Handshake(Box<tungstenite::Error>),
    #[error(
        "the other side ended the connection before it answered the WebSocket handshake, as a tunnel does whose far end is not reached"
    )]
    Unanswered,
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// The standard library puts words of its own in front of what the resolver says.
fn cause_of(error: &io::Error) -> String {
    let text = error.to_string();
    let (_, cause) = text.split_once("lookup address information: ").unwrap_or(("", &text));
    cause.to_owned()
}

impl Dialler {
    /// The relay is reached at this port of this machine.
    pub fn reach_through(&mut self, port: u16) {
        // Errors leave the address as it is, where nobody listens for us.
        let _ = self.url.set_host(Some("127.0.0.1"));
        let _ = self.url.set_port(Some(port));
        self.allow_local = true;
    }

    /// Opens a connection whose large messages need some of this room.
    pub(super) async fn dial(&self, room: &Room) -> Result<Connection, ConnectError> {
        timeout(self.time_out, self.dial_without_time_out(room))
            .await
            .unwrap_or(Err(ConnectError::TimedOut(self.time_out.as_secs())))
    }

    async fn dial_without_time_out(&self, room: &Room) -> Result<Connection, ConnectError> {
        let stream = self.open().await?;
        let handshake = |error| match error {
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                ConnectError::Unanswered
            }
            tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                ConnectError::Unanswered
            }
            error => ConnectError::Handshake(Box::new(error)),
        };
        let request = self.url.as_str().into_client_request().map_err(handshake)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .read_buffer_size(READ_AT_ONCE)
            // Without a bound a peer that sends pings and reads nothing fills the memory.
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT);
        let (stream, meter) = Metered::new(stream, room.clone());
        let (socket, _response) =
            client_async_with_config(request, stream, Some(config)).await.map_err(handshake)?;
        Ok(Connection::new(socket, meter))
    }

    /// Opens a connection without a WebSocket; it has as much time as the caller gives it.
    pub(super) async fn open(&self) -> Result<MaybeTlsStream<TcpStream>, ConnectError> {
        let stream = self.connect().await?;
        // Small requests and their answers take turns: waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        if self.url.scheme() != "wss" {
            return Ok(MaybeTlsStream::Plain(stream));
        }
        let host = self.url.host_str().ok_or(ConnectError::NoHost)?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| ConnectError::NoHost)?;
        let connector = TlsConnector::from(tls_config().map_err(ConnectError::Tls)?);
        let handshake = |error| ConnectError::Handshake(Box::new(tungstenite::Error::Io(error)));
        let stream = connector.connect(name, stream).await.map_err(handshake)?;
        Ok(MaybeTlsStream::Rustls(stream))
    }

    async fn connect(&self) -> Result<TcpStream, ConnectError> {
        let host = self.url.host_str().ok_or(ConnectError::NoHost)?;
        let port = self.url.port_or_known_default().ok_or(ConnectError::NoHost)?;
        // Brackets belong to the URL's spelling of an IPv6 address, not to the address.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let resolve = |source| ConnectError::Resolve { host: host.to_owned(), source };
        let addresses = tokio::net::lookup_host((name, port)).await.map_err(resolve)?;
        let addresses = addresses.filter(|it| self.allow_local || !is_local_ip(it.ip()));
        let attempts: Vec<_> = addresses.take(ADDRESSES).zip(0..).map(attempt).collect();
        if attempts.is_empty() {
            return Err(ConnectError::LocalAddress { host: host.to_owned() });
        }
        let (stream, _) = select_ok(attempts).await?;
        Ok(stream)
    }
}

/// One of several addresses, each a moment after the other: the first that answers wins, so that
/// one which swallows everything does not use up the time of the rest.
fn attempt((address, turn): (SocketAddr, u32)) -> Pin<Box<impl Future<Output = Attempt>>> {
    Box::pin(async move {
        tokio::time::sleep(BETWEEN_ADDRESSES * turn).await;
        let connected = TcpStream::connect(address).await;
        connected.map_err(|source| ConnectError::Tcp { address, source })
    })
}

type Attempt = Result<TcpStream, ConnectError>;

/// One configuration for all peers. It names its cryptography: rustls would otherwise look for the
/// one that happens to be linked, and panic if there is none or more than one.
fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    };
    CONFIG.get_or_init(make).clone()
}
