//! The load balancer: a typed nginx document, its writer, and the layout made from routes and ready units.
//!
//! Pure: no clock, environment, files, network or randomness. The coordinator computes one [`Document`] with
//! [`layout`]; every load balancer unit fills in its own values with [`unit_document`] and runs nginx with
//! [`arguments`]. Not here: which routes a product has (`muster-products`), which units are ready (`muster-planner`),
//! and running nginx (`muster-agent`). Start reading at [`layout`].
//!
//! # What stands where
//!
//! nginx's prefix is a directory of the unit ([`files`]). Every path in the document is relative to it, so that the
//! document is the same for all units. The unit listens at its own address: [`HTTP_PORT`](muster_model::HTTP_PORT) for
//! users, with TLS when it is on, and [`STATUS_PORT`] for its agent alone, never with TLS. Upstreams are spoken to
//! without TLS.
//!
//! # Start
//!
//! 1. Create the directories [`files::DIRECTORIES`], write [`files::CERTIFICATE`] and [`files::KEY`] when TLS is on.
//! 2. Make the symbolic link [`files::connections`] of the revision, with the target [`Connections::Keep`].
//! 3. Write the filled document as [`files::CONFIG`] and run [`check_arguments`].
//! 4. Run [`arguments`].
//! 5. The unit is ready when [`READY_PATH`] on [`STATUS_PORT`] answers [`ready_body`] of the revision.
//!
//! # Reload
//!
//! A bare `SIGHUP` fails requests of keep-alive clients: an old worker closes its connections when they are idle, or
//! when it has answered the request at hand, and a client that is just sending the next request sees a reset. nginx 1.22
//! has no setting against that (`keepalive_min_timeout` came with 1.27.4). So the agent first tells the clients:
//! while a revision's link points to [`Connections::Close`], every response of that revision's workers carries
//! `Connection: close`, and clients open their next connection before they send. The steps, in this order:
//!
//! 1. Write the new document and TLS files into another directory, laid out in the same way, and check them there with
//!    [`check_arguments`], which also finds a key that does not fit its certificate. Rejected: stop here, nothing has
//!    changed. Then rename the files over those of the prefix.
//! 2. Make the link of the *new* revision, target [`Connections::Keep`].
//! 3. Switch the link of the *running* revision to [`Connections::Close`], atomically: make a link of another name and
//!    rename it over the first.
//! 4. Poll [`CONNECTIONS_PATH`] on [`STATUS_PORT`] until [`waiting_connections`] is 0, for at most
//!    [`DRAIN_DEADLINE_MS`]. Busy clients are gone after one request each. Connections that stay idle longer are
//!    closed by step 5; a client loses a request only if it sends one in that very instant.
//! 5. Send `SIGHUP` to nginx' master process.
//! 6. Poll [`READY_PATH`] on [`STATUS_PORT`], a new connection each time, until it answers [`ready_body`] of the new
//!    revision: a signal carries no result, this proves that the new generation serves. If it does not within a few
//!    seconds, nginx has kept the old generation: switch the old revision's link back to [`Connections::Keep`], put
//!    the old document back, and report the error. Then go on until each worker of the old generation has ended or has
//!    taken the title of one that is shutting down: for a moment (100 ms) both generations accept connections, and only
//!    when the old one has stopped may a unit that was taken out of the upstreams be ended. Better when it has ended: requests that are
//!    under way may be at that unit. A few seconds are enough for most. (Where the change
//!    [only adds servers](only_adds_servers), nobody need wait.) Who cannot see the workers waits
//!    until no answer of the old revision has come for [`SETTLE_MS`].
//! 7. Leave the old revision's link as it is, because old workers may be at long requests for up to
//!    [`SHUTDOWN_TIMEOUT_SECONDS`] more. Links of other revisions may be removed before the next start.
//!
//! After [`SHUTDOWN_TIMEOUT_SECONDS`] nginx closes what old workers still carry. No query is silent for so long, so that only streams
//! are cut: a live tail (a WebSocket) or a streamed search that began before a reload is closed that long after it, without a close
//! frame. That is wanted: an old worker knows the units of its time alone and costs memory, and Loki itself ends every tail after
//! an hour (`querier.tail_max_duration`), so that clients that follow logs connect again in any case (`logcli` does), and ask
//! from the last line that they have seen.
//!
//! Each revision has a link of its own, because old and new workers run side by side for a while: with one flag for
//! both, taking it away would let the old workers keep connections that they are about to close. The link is looked at
//! when a response's header is written (nginx resolves `$realpath_root` at that moment, while `set` and `if (-f …)` run
//! when the request arrives), so a query that began before step 3 ends well too; workers that are ending say `close`
//! by themselves. Do not reload for an unchanged revision: nothing would tell the generations apart.
//!
//! nginx still writes its own `Connection: keep-alive` before our `Connection: close`. Both fields form one list
//! (RFC 9110 §5.3), in which `close` wins (RFC 9112 §9.6); Go's client, hyper, curl and Node take it so. A client that looks at
//! the first field alone (Python's `http.client`) keeps its connection, and is where a bare `SIGHUP` would have put it.

mod change;
mod command;
mod directive;
pub mod files;
mod layout;
mod server;
mod status;
mod unit;

pub use change::{only_adds_servers, routes_nowhere};
pub use command::{arguments, check_arguments};
pub use directive::Document;
pub use files::Connections;
pub use layout::{Layout, SHUTDOWN_TIMEOUT_SECONDS, Tenant, layout};
pub use server::{Server, ServerError};
pub use status::{
    CONNECTIONS_PATH, DRAIN_DEADLINE_MS, READY_PATH, SETTLE_MS, STATUS_PORT, ready_body, waiting_connections,
};
pub use unit::{UnitError, UnitValues, unit_document};
