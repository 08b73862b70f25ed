//! A short look at all peers at once, through the tunnels that a backfill would use.

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::limits::CONNECT_TIME_OUT;
use super::tunnels::{Ipfs, Tunnels};
use crate::node::{Peer, PeerSource};
use crate::peer::limits::CONVERSATIONS;
use crate::peer::{ConnectError, Dialler, Probe, Room, Trace};

/// What a look at a peer shows, or why it cannot be reached.
pub type Looked = Result<Probe, Unreached>;

/// Why a peer cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// Its tunnel is not open, for this reason.
    #[error("{0}")]
    Tunnel(String),
    /// It does not take a connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The process was told to stop.
    #[error("stopped before the end")]
    Stopped,
}

/// Looks at each of these peers, all at once as far as a backfill would talk to so many; returns in
/// their order what that shows. Tunnels are closed again. `allow_local`: the swarm's peers may be at loopback and private addresses, too.
pub async fn look_at_all(
    peers: &[Peer],
    ipfs: &Ipfs,
    allow_local: bool,
    trace: &Trace,
) -> Vec<Looked> {
    let tunnels = Tunnels::open(ipfs, peers, CONNECT_TIME_OUT).await;
    let (room, conversations) = (Room::default(), Semaphore::new(CONVERSATIONS));
    let looks = peers.iter().enumerate().map(|(position, peer)| {
        let (way, room, conversations) = (tunnels.port(position), &room, &conversations);
        let look = async move {
            // It is never closed.
            let _conversation = conversations.acquire().await;
            look_at(peer, way, allow_local, trace, room).await
        };
        async move {
            tokio::select! {
                looked = look => looked,
                () = ipfs.stop.told() => Err(Unreached::Stopped),
            }
        }
    });
    let looked = join_all(looks).await;
    tunnels.close().await;
    looked
}

async fn look_at(
    peer: &Peer,
    way: Result<Option<u16>, &str>,
    allow_local: bool,
    trace: &Trace,
    room: &Room,
) -> Looked {
    let allow_local = allow_local || !matches!(peer.source, PeerSource::Swarm { .. });
    let mut dialler =
        Dialler::new(peer.url.clone(), allow_local, CONNECT_TIME_OUT).traced(trace, &peer.name);
    if let Some(port) = way.map_err(|why| Unreached::Tunnel(why.to_owned()))? {
        dialler.reach_through(port);
    }
    Ok(dialler.probe(room).await?)
}
