//! Dialling a peer: name resolution, TCP, TLS and the WebSocket handshake, within one time-out.
//!
//! A peer that a stranger's file named is never dialled at a loopback or private address, whatever
//! its host name resolves to.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::USER_AGENT;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, client_async_with_config};
use url::Url;

use super::connect_error::ConnectError;
use super::connection::{Connection, Socket};
use super::limits::{ADDRESSES, BETWEEN_ADDRESSES, MESSAGE, READ_AT_ONCE, SMALL_MESSAGE, UNSENT};
use super::metered::{Meter, Metered};
use super::room::Room;
use super::trace::{Conversation, Trace};
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
    /// The port of this machine at which a tunnel to the relay begins.
    tunnel: Option<u16>,
    /// Where its conversations are written down.
    trace: Trace,
    /// What it is called there.
    name: String,
}

/// How this program names itself to relays.
pub(super) const PROGRAM: &str = concat!("strfry-companion/", env!("CARGO_PKG_VERSION"));

impl Dialler {
    /// The relay is dialled at its own address.
    pub fn new(url: Url, allow_local: bool, time_out: Duration) -> Self {
        Self {
            url,
            allow_local,
            time_out,
            tunnel: None,
            trace: Trace::default(),
            name: String::new(),
        }
    }

    /// Its conversations are written down there, under its address and this name: stations that
    /// are reached through tunnels have the same address.
    #[must_use]
    pub fn traced(self, trace: &Trace, name: &str) -> Self {
        Self { trace: trace.clone(), name: name.to_owned(), ..self }
    }

    /// The beginning of a conversation with it, for the trace.
    pub(super) fn conversation(&self) -> Conversation {
        self.trace.conversation(self.own_address(), &self.name)
    }

    /// The relay is dialled at this port of this machine. It keeps its own address in everything
    /// that it is told.
    pub fn reach_through(&mut self, port: u16) {
        self.tunnel = Some(port);
    }

    /// The relay's own address as people write it, also where a tunnel leads to it: what a relay
    /// wants to see in the answer to its challenge (NIP-42).
    pub(super) fn own_address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Opens a connection whose large messages need some of this room.
    pub(super) async fn dial(&self, room: &Room) -> Result<Connection, ConnectError> {
        let mut conversation = self.conversation();
        let dialled = timeout(self.time_out, self.dial_without_time_out(room))
            .await
            .unwrap_or(Err(ConnectError::TimedOut(self.time_out.as_secs())));
        match dialled {
            Ok((socket, meter)) => {
                conversation.event("opened", None);
                Ok(Connection::new(socket, meter, conversation))
            }
            Err(error) => {
                conversation.event("not connected", Some(&error.to_string()));
                conversation.forget();
                Err(error)
            }
        }
    }

    async fn dial_without_time_out(
        &self,
        room: &Room,
    ) -> Result<(Socket, Arc<Meter>), ConnectError> {
        let stream = self.open().await?;
        let handshake = |error| ConnectError::of_handshake(error, &self.url);
        let mut request = self.url.as_str().into_client_request().map_err(handshake)?;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(PROGRAM));
        let config = WebSocketConfig::default()
            // Longer ones are read past before the library sees them, and leave a mark.
            .max_message_size(Some(MESSAGE + SMALL_MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .read_buffer_size(READ_AT_ONCE)
            // Without a bound a peer that sends pings and reads nothing fills the memory.
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT);
        let (stream, meter) = Metered::new(stream, room.clone());
        let (socket, _response) =
            client_async_with_config(request, stream, Some(config)).await.map_err(handshake)?;
        Ok((socket, meter))
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
        let name = without_brackets(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| ConnectError::NoHost)?;
        let connector = TlsConnector::from(tls_config().map_err(ConnectError::Tls)?);
        let handshake = |error| ConnectError::Handshake(Box::new(tungstenite::Error::Io(error)));
        let stream = connector.connect(name, stream).await.map_err(handshake)?;
        Ok(MaybeTlsStream::Rustls(stream))
    }

    async fn connect(&self) -> Result<TcpStream, ConnectError> {
        if let Some(port) = self.tunnel {
            return attempt((SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 0)).await;
        }
        let host = self.url.host_str().ok_or(ConnectError::NoHost)?;
        if is_onion(host) {
            return Err(ConnectError::Onion { host: host.to_owned() });
        }
        let port = self.url.port_or_known_default().ok_or(ConnectError::NoHost)?;
        let resolve = |source| ConnectError::Resolve { host: host.to_owned(), source };
        let addresses = tokio::net::lookup_host((without_brackets(host), port)).await;
        let addresses = addresses.map_err(resolve)?;
        let addresses = addresses.filter(|it| self.allow_local || !is_local_ip(it.ip()));
        let attempts: Vec<_> = addresses.take(ADDRESSES).zip(0..).map(attempt).collect();
        if attempts.is_empty() {
            return Err(ConnectError::LocalAddress { host: host.to_owned() });
        }
        let (stream, _) = select_ok(attempts).await?;
        Ok(stream)
    }
}

/// Brackets belong to the URL's spelling of an IPv6 address, not to the address.
fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a host is a Tor service (RFC 7686: such a name is not for the DNS).
fn is_onion(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("onion"))
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
