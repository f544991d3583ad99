//! Accepting connections: how many there may be, and how long each may keep the server waiting.
//!
//! Knows no operation. Dropshot answers the requests; its own accept loop has none of these limits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dropshot::{Body, HttpServerStarter, ServerConnectionHandler, ServerContext};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::listen;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::client_ip::{TrustedProxies, bucket};
use crate::http::record::RequestRecord;
use crate::http::tls::Tls;

/// How many bytes of a request or an answer a connection buffers. Bounds the head of a request.
const BUFFER: usize = 96 * 1024;
/// How many bytes of answers the kernel keeps for a connection. Otherwise it keeps megabytes for a peer that does not
/// read.
const SEND_BUFFER: usize = 64 * 1024;
/// How many connections the kernel queues until they are accepted. 128, the default, is less than what can come while the
/// process does not run for a moment; past it a client waits for a second.
const BACKLOG: i32 = 4096;
/// How many connections may be about to close at once: each still has its descriptor.
const MAX_CLOSING: usize = 8;
/// How often at most a limit that is reached, or a failure to accept, is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How long the listener waits after a failure to accept, such as EMFILE.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What a connection may take.
#[derive(Debug, Clone)]
pub(crate) struct Timeouts {
    /// From the first wait for a request's first byte to the end of its head.
    pub(crate) header: Duration,
    /// Between an answer and the first byte of the next request.
    pub(crate) idle: Duration,
    /// For the peer to take any byte of an answer.
    pub(crate) write: Duration,
}

impl Timeouts {
    /// From an answer to the end of the next head.
    fn longest_wait(&self) -> Duration {
        self.idle + self.header
    }
}

/// How many connections there may be.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) total: usize,
    /// From one IPv4 address or IPv6 network of 64 bits.
    pub(crate) per_address: usize,
    /// Each has connections of many users, so the limit per address does not apply to them.
    pub(crate) proxies: TrustedProxies,
}

/// A bound listener, and what answers the requests that come in.
pub(crate) struct Listener<C: ServerContext> {
    tcp: TcpListener,
    handler: ServerConnectionHandler<C>,
    handlers_done: Pin<Box<dyn Future<Output = ()> + Send>>,
    connections: Arc<Connections>,
    timeouts: Timeouts,
    is_recorded: bool,
    /// `None` for plain HTTP.
    tls: Option<Arc<Tls>>,
}

impl<C: ServerContext> Listener<C> {
    pub(crate) fn new(starter: HttpServerStarter<C>, limits: Limits, timeouts: Timeouts) -> Self {
        let (tcp, handler, handlers_done) = starter.into_parts();
        if let Err(error) = listen(&tcp, BACKLOG) {
            warn!("cannot have a longer queue of connections: {error}");
        }
        Self {
            tcp,
            handler,
            handlers_done,
            connections: Arc::new(Connections::new(limits)),
            timeouts,
            is_recorded: true,
            tls: None,
        }
    }

    /// Speaks TLS, if `tls` is given.
    pub(crate) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Neither logs nor counts its requests.
    pub(crate) fn unrecorded(self) -> Self {
        Self {
            is_recorded: false,
            ..self
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts until `stop` is true, then waits for open requests and running handlers.
    ///
    /// Connections are closed when the future is dropped.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self {
            tcp,
            handler,
            handlers_done,
            connections,
            timeouts,
            is_recorded,
            tls,
        } = self;
        let mut tasks = JoinSet::new();
        let mut failures = Throttle::default();
        loop {
            let accepted = tokio::select! {
                () = stopped(&mut stop) => break,
                _ = tasks.join_next(), if !tasks.is_empty() => continue,
                accepted = tcp.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The peer has closed the connection already.
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionRefused
                            | ErrorKind::ConnectionAborted
                            | ErrorKind::ConnectionReset
                    ) {
                        continue;
                    }
                    // Most likely EMFILE: one descriptor less is in use.
                    connections.evict();
                    if let Some(times) = failures.count() {
                        warn!(times, "cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            };
            let slot = loop {
                match connections.admit(peer.ip()) {
                    Admission::Admitted(slot) => break Some(slot),
                    Admission::Refused => break None,
                    Admission::Full => {}
                }
                // Others wait in the kernel's queue.
                tokio::select! {
                    () = stopped(&mut stop) => break None,
                    () = connections.freed.notified() => {}
                }
            };
            let Some(slot) = slot else {
                continue;
            };
            if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
                debug!("cannot bound what the kernel keeps of answers: {error}");
            }
            let service = Guarded {
                service: handler.make_http_request_handler(peer),
                peer: is_recorded.then(|| peer.ip()),
                slot: Arc::clone(&slot),
            };
            let timed = Timed::new(stream, Arc::clone(&slot), timeouts.clone());
            let stop = stop.clone();
            match &tls {
                None => {
                    let longest_wait = timeouts.longest_wait();
                    tasks.spawn(serve(timed, longest_wait, service, slot, stop))
                }
                Some(tls) => tasks.spawn(serve_tls(tls.acceptor(), timed, service, slot, stop)),
            };
        }
        drop(tcp);
        while tasks.join_next().await.is_some() {}
        // Each handler holds what the future waits for, and so does this.
        drop(handler);
        handlers_done.await;
    }
}

/// Returns when the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is the end of the sender, which stops the server as well.
    drop(stop.wait_for(|stop| *stop).await);
}

/// As [`serve`], after a handshake. Its time is part of that of the first head.
async fn serve_tls<S>(
    tls: TlsAcceptor,
    stream: Timed,
    service: Guarded<S>,
    slot: Arc<Slot>,
    mut stop: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    let longest_wait = stream.timeouts.longest_wait();
    let accepted = tokio::select! {
        () = slot.evicted.notified() => return,
        () = stopped(&mut stop) => return,
        accepted = tls.accept(stream) => accepted,
    };
    match accepted {
        Ok(stream) => {
            slot.encrypted();
            serve(stream, longest_wait, service, slot, stop).await;
        }
        Err(error) => debug!("a TLS handshake failed: {error}"),
    }
}

/// Serves a connection until its end, its eviction, or the end of its current request after `stop`.
async fn serve<I, S>(
    stream: I,
    longest_wait: Duration,
    service: Guarded<S>,
    slot: Arc<Slot>,
    mut stop: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    let mut builder = http1::Builder::new();
    // `Timed` has the time limits: hyper's also covers the time between requests. It must have one all the same, or it
    // does not read between requests, and `Timed` cannot fail.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(longest_wait)
        .max_buf_size(BUFFER);
    let stream = TokioIo::new(Framed::new(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            () = slot.evicted.notified() => return,
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!("a connection ended early: {error}");
                }
                return;
            }
            () = stopped(&mut stop), if !is_stopping => {
                is_stopping = true;
                // hyper would wait for the first request of the connection.
                if slot.is_silent() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// All open connections.
struct Connections {
    limits: Limits,
    state: Mutex<State>,
    /// A connection has ended, or waits for its peer.
    freed: Notify,
}

#[derive(Default)]
struct State {
    /// The next number of a connection or of a wait.
    next: u64,
    open: HashMap<u64, Open>,
    /// The connections that wait for their peer by the number of the wait: the longest wait first.
    waiting: BTreeMap<u64, u64>,
    by_address: HashMap<IpAddr, HashSet<u64>>,
    /// How many were given up for others and are not closed yet.
    closing: usize,
    closed: Throttle,
}

struct Open {
    /// Which of `by_address` counts it.
    address: Option<IpAddr>,
    /// Its number in `waiting`.
    wait: Option<u64>,
    evicted: Arc<Notify>,
}

enum Admission {
    Admitted(Arc<Slot>),
    /// Its address has too many connections already, all with a request in progress.
    Refused,
    /// There are too many connections, all with a request in progress or about to close.
    Full,
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection by closing the one that has waited for its peer for longest, of
    /// those from the same address or of all. So silent peers displace each other, and a peer that
    /// sends its request is served.
    fn admit(self: &Arc<Self>, peer: IpAddr) -> Admission {
        let is_proxy = self.limits.proxies.trusts(peer.to_canonical());
        let address = (!is_proxy).then(|| bucket(peer));
        let mut state = self.lock();
        if state.closing >= MAX_CLOSING {
            return Admission::Full;
        }
        let of_address = address.and_then(|address| state.by_address.get(&address));
        if let Some(ids) = of_address
            && ids.len() >= self.limits.per_address
        {
            let longest = ids.iter().filter_map(|id| state.open[id].wait).min();
            state.report(address);
            let Some(wait) = longest else {
                return Admission::Refused;
            };
            state.evict(wait);
        }
        if state.open.len() >= self.limits.total {
            state.report(None);
            let Some(wait) = state.waiting.keys().next().copied() else {
                return Admission::Full;
            };
            state.evict(wait);
        }
        let id = state.number();
        let evicted = Arc::new(Notify::new());
        let open = Open {
            address,
            wait: None,
            evicted: Arc::clone(&evicted),
        };
        state.open.insert(id, open);
        if let Some(address) = address {
            state.by_address.entry(address).or_default().insert(id);
        }
        state.wait(id);
        Admission::Admitted(Arc::new(Slot {
            id,
            connections: Arc::clone(self),
            evicted,
            phase: Mutex::new(Phase::Silent(Instant::now())),
        }))
    }

    /// Closes the connection that has waited for its peer for longest, if any waits.
    fn evict(&self) {
        let mut state = self.lock();
        let longest = state.waiting.keys().next().copied();
        if let Some(wait) = longest {
            state.evict(wait);
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The connection waits for its peer from now on.
    fn wait(&mut self, id: u64) {
        let wait = self.number();
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if let Some(former) = open.wait.replace(wait) {
            self.waiting.remove(&former);
        }
        self.waiting.insert(wait, id);
    }

    /// Whether the connection is still open; it does not wait for its peer from now on.
    fn work(&mut self, id: u64) -> bool {
        let Some(open) = self.open.get_mut(&id) else {
            return false;
        };
        if let Some(wait) = open.wait.take() {
            self.waiting.remove(&wait);
        }
        true
    }

    fn evict(&mut self, wait: u64) {
        if let Some(open) = self
            .waiting
            .get(&wait)
            .copied()
            .and_then(|id| self.close(id))
        {
            open.evicted.notify_one();
            self.closing += 1;
        }
    }

    fn close(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(wait) = open.wait {
            self.waiting.remove(&wait);
        }
        if let Some(address) = open.address
            && let Some(ids) = self.by_address.get_mut(&address)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(open)
    }

    /// Logs now and then that a limit is reached.
    fn report(&mut self, address: Option<IpAddr>) {
        let Some(times) = self.closed.count() else {
            return;
        };
        let open = self.open.len();
        match address {
            Some(address) => warn!(
                times,
                open, "too many connections from {address} (--max-connections-per-address)"
            ),
            None => warn!(times, open, "too many connections (--max-connections)"),
        }
    }
}

/// Counts what happens too often to be logged each time.
#[derive(Default)]
struct Throttle {
    logged: Option<Instant>,
    times: u64,
}

impl Throttle {
    /// How often it happened since the last log line, if it is time for one.
    fn count(&mut self) -> Option<u64> {
        self.times += 1;
        if self.logged.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return None;
        }
        self.logged = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

/// The place of an open connection.
struct Slot {
    id: u64,
    connections: Arc<Connections>,
    evicted: Arc<Notify>,
    phase: Mutex<Phase>,
}

/// What a connection waits for.
#[derive(Clone, Copy)]
enum Phase {
    /// Its first byte, since it was accepted.
    Silent(Instant),
    /// The rest of a head, since the first byte.
    Head(Instant),
    /// The answer to a request.
    Busy,
    /// The answer is there and is being written.
    Answered,
    /// The first byte of another request, since then.
    Idle(Instant),
}

impl Slot {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        matches!(*self.phase(), Phase::Silent(_))
    }

    /// The peer is waited for from now on, and may be given up for another connection.
    fn wait(&self) {
        self.connections.lock().wait(self.id);
        self.connections.freed.notify_one();
    }

    /// A request has come. `false` if the connection was given up already.
    fn begin(&self) -> bool {
        *self.phase() = Phase::Busy;
        self.connections.lock().work(self.id)
    }

    fn answered(&self) {
        *self.phase() = Phase::Answered;
    }

    /// A handshake has ended: no byte of a request has come.
    fn encrypted(&self) {
        let mut phase = self.phase();
        if let Phase::Head(since) = *phase {
            *phase = Phase::Silent(since);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        if state.close(self.id).is_none() {
            state.closing -= 1;
        }
        drop(state);
        self.connections.freed.notify_one();
    }
}

/// A service that tells the slot of its connection about requests.
struct Guarded<S> {
    service: S,
    /// `None` if its requests are not recorded.
    peer: Option<IpAddr>,
    slot: Arc<Slot>,
}

impl<S> Service<Request<Incoming>> for Guarded<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let slot = Arc::clone(&self.slot);
        if !slot.begin() {
            return Box::pin(async { Err("the connection was given up for another one".into()) });
        }
        let proxies = &self.slot.connections.limits.proxies;
        let begin = |peer| RequestRecord::begin(&mut request, peer, proxies);
        let record = self.peer.map(begin);
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            slot.answered();
            if let (Some(record), Ok(answer)) = (record, &answer) {
                record.end(answer);
            }
            answer
        })
    }
}

/// A connection that fails when its peer takes too long.
struct Timed {
    stream: TcpStream,
    slot: Arc<Slot>,
    timeouts: Timeouts,
    read: Timer,
    write: Timer,
    /// Since when the peer has not taken a byte that is to be written.
    blocked: Option<Instant>,
}

impl Timed {
    fn new(stream: TcpStream, slot: Arc<Slot>, timeouts: Timeouts) -> Self {
        Self {
            stream,
            slot,
            timeouts,
            read: Timer::default(),
            write: Timer::default(),
            blocked: None,
        }
    }

    /// Bytes of the peer have come.
    fn received(&mut self) {
        let mut phase = self.slot.phase();
        if matches!(*phase, Phase::Silent(_) | Phase::Idle(_)) {
            // A first head has its time from the beginning of the connection.
            *phase = Phase::Head(match *phase {
                Phase::Silent(since) => since,
                _ => Instant::now(),
            });
        }
    }

    /// When the peer has taken too long to send something.
    fn read_deadline(&mut self) -> Option<Instant> {
        let mut phase = self.slot.phase();
        match *phase {
            Phase::Busy => None,
            Phase::Silent(since) | Phase::Head(since) => Some(since + self.timeouts.header),
            Phase::Idle(since) => Some(since + self.timeouts.idle),
            Phase::Answered => {
                let now = Instant::now();
                *phase = Phase::Idle(now);
                drop(phase);
                self.slot.wait();
                Some(now + self.timeouts.idle)
            }
        }
    }

    /// Passes on what became of a write, or fails if the peer has taken nothing for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.blocked.take().is_some() {
                self.slot.wait();
            }
            let mut phase = self.slot.phase();
            if let Phase::Idle(since) = &mut *phase {
                *since = Instant::now();
            }
            return written;
        }
        let since = *self.blocked.get_or_insert_with(|| {
            self.slot.wait();
            Instant::now()
        });
        ready!(self.write.poll(context, since + self.timeouts.write));
        Poll::Ready(Err(late("the peer does not read")))
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, what)
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                this.received();
            }
            return Poll::Ready(read);
        }
        let Some(deadline) = this.read_deadline() else {
            return Poll::Pending;
        };
        ready!(this.read.poll(context, deadline));
        Poll::Ready(Err(late("the peer sends no request")))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// A timer that is set whenever it is polled.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}

/// A stream of requests, with the framing of each checked. Above TLS, for it looks at what the client says.
struct Framed<I> {
    stream: I,
    framing: Framing,
}

impl<I> Framed<I> {
    fn new(stream: I) -> Self {
        Self {
            stream,
            framing: Framing::default(),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Framed<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.framing.check(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Framed<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Makes hyper refuse a head with both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.3),
/// which hyper accepts by dropping the former.
///
/// It looks at lines, of bodies too, for where a head begins is known to hyper alone. A head always
/// begins its header lines at the beginning of a line and ends with an empty one, so none is missed;
/// a body that has two such lines is not JSON.
#[derive(Default)]
struct Framing {
    /// The beginning of the current line in lower case.
    line: Vec<u8>,
    has_length: bool,
    has_encoding: bool,
}

impl Framing {
    const LENGTH: &[u8] = b"content-length:";
    const ENCODING: &[u8] = b"transfer-encoding:";

    /// Puts a NUL, which no header may have, at the end of the second of the two lines.
    fn check(&mut self, bytes: &mut [u8]) {
        for part in bytes.split_inclusive_mut(|byte| *byte == b'\n') {
            let room = Self::ENCODING.len().saturating_sub(self.line.len());
            let begin = part.iter().take(room).map(u8::to_ascii_lowercase);
            self.line.extend(begin);
            let Some(end) = part.last_mut().filter(|byte| **byte == b'\n') else {
                continue;
            };
            self.has_length |= self.line.starts_with(Self::LENGTH);
            self.has_encoding |= self.line.starts_with(Self::ENCODING);
            let is_refused = self.has_length && self.has_encoding;
            if is_refused {
                *end = 0;
            }
            if is_refused || self.line == b"\n" || self.line == b"\r\n" {
                (self.has_length, self.has_encoding) = (false, false);
            }
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(total: usize, per_address: usize) -> Arc<Connections> {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        Arc::new(Connections::new(Limits {
            total,
            per_address,
            proxies,
        }))
    }

    #[track_caller]
    fn admitted(connections: &Arc<Connections>, peer: &str) -> Arc<Slot> {
        match connections.admit(peer.parse().unwrap()) {
            Admission::Admitted(slot) => slot,
            Admission::Refused => panic!("refused"),
            Admission::Full => panic!("full"),
        }
    }

    fn is_open(slot: &Slot) -> bool {
        slot.connections.lock().open.contains_key(&slot.id)
    }

    #[tokio::test]
    async fn longest_wait_is_given_up_and_a_request_in_progress_is_not() {
        let connections = connections(3, 3);
        let (first, second, third) = (
            admitted(&connections, "192.0.2.1"),
            admitted(&connections, "192.0.2.2"),
            admitted(&connections, "192.0.2.3"),
        );
        assert!(first.begin());
        let fourth = admitted(&connections, "192.0.2.4");
        assert!(is_open(&first) && !is_open(&second) && is_open(&third));
        assert!(
            !second.begin(),
            "a request that comes too late is not begun"
        );
        for slot in [&third, &fourth] {
            assert!(slot.begin());
        }
        let full = connections.admit("192.0.2.5".parse().unwrap());
        assert!(matches!(full, Admission::Full));
        first.wait();
        let fifth = admitted(&connections, "192.0.2.5");
        assert!(!is_open(&first));
        for slot in [first, second, third, fourth, fifth] {
            drop(slot);
        }
        let state = connections.lock();
        assert!(state.open.is_empty() && state.waiting.is_empty() && state.by_address.is_empty());
    }

    #[tokio::test]
    async fn an_address_displaces_its_own_connections_and_a_proxy_none() {
        let connections = connections(10, 2);
        let other = admitted(&connections, "192.0.2.9");
        let first = admitted(&connections, "2001:db8::1");
        let second = admitted(&connections, "2001:db8::2");
        let third = admitted(&connections, "2001:db8::3");
        assert!(is_open(&other) && !is_open(&first) && is_open(&second) && is_open(&third));
        assert!(second.begin() && third.begin());
        let refused = connections.admit("2001:db8::4".parse().unwrap());
        assert!(matches!(refused, Admission::Refused));
        let proxied: Vec<_> = (0..5).map(|_| admitted(&connections, "10.0.0.1")).collect();
        assert!(proxied.iter().all(|slot| is_open(slot)));
    }

    #[test]
    fn both_lengths_in_one_head_are_found_however_the_bytes_arrive() {
        let both =
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nhost: x\r\ntransfer-ENCODING: chunked\r\n\r\n";
        let apart = "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n{\"a\":\n1}POST / HTTP/1.1\r\n\
                     transfer-encoding: chunked\r\nx-content-length: 5\r\n\r\n";
        let bare = both.replace('\r', "");
        let second = format!("{{}}{both}");
        let behind = format!("{apart}{second}");
        for (text, is_refused) in [
            (both, true),
            (apart, false),
            (&bare, true),
            (&second, true),
            (&behind, true),
        ] {
            for size in [1, 7, 4096] {
                let mut framing = Framing::default();
                let mut bytes = text.as_bytes().to_vec();
                bytes.chunks_mut(size).for_each(|part| framing.check(part));
                assert_eq!(bytes.contains(&0), is_refused, "{size}: {text}");
            }
        }
    }
}
