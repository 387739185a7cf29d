//! What the HTTP handlers of one core call: [`Services`] over ingest, query and catalog.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;

use crate::disk::Clock;
use crate::http::services::AuthError;
use crate::http::services::Credentials;
use crate::http::services::Health;
use crate::http::services::QueryRun;
use crate::http::services::Services;
use crate::http::services::WriteSession;
use crate::ingest::Session;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::ingest::Written;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Privilege;
use crate::meta::auth;
use crate::meta::token;
use crate::model::ResultPiece;
use crate::observe::Statistic;
use crate::observe::requests::RequestCount;
use crate::query;
use crate::query::request::Caller;
use crate::query::request::QueryError;
use crate::query::request::QueryRequest;
use crate::query::select::Limits;
use crate::query::statement::ServerFacts;
use crate::server::core;
use crate::server::core::Core;
use crate::server::core::Phase;
use crate::server::diagnostics;
use crate::server::fabric::MeshFabric;
use crate::server::options;
use crate::server::owners::CoreOwners;
use crate::server::running::Ticket;

/// How long the cores get to tell their counters.
const STATISTICS_WAIT: Duration = Duration::from_secs(5);
/// How long the cores get to stop what they read for a query that ended early.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub struct CoreServices {
    core: Rc<Core>,
}

impl CoreServices {
    /// Seen from `core`.
    pub fn new(core: Rc<Core>) -> CoreServices {
        CoreServices { core }
    }

    async fn verify_password(&self, name: &str, password: String) -> Result<Caller, AuthError> {
        if name.is_empty() {
            return Err(unauthorized("username required"));
        }
        let catalog = self.core.catalog();
        let user = catalog.user(name).ok_or_else(|| unauthorized("authorization failed"))?;
        if !self.core.logins.borrow().knows(user, &password) {
            let (tried, hash) = (password.clone(), user.hash.clone());
            // 60 ms of CPU.
            let verified = glommio::executor().spawn_blocking(move || auth::verify_password(&tried, &hash)).await;
            if !verified {
                return Err(unauthorized("authorization failed"));
            }
            self.core.logins.borrow_mut().remember(user, &password);
        }
        Ok(Caller::User(name.to_owned()))
    }

    /// What SHOW STATS and SHOW DIAGNOSTICS print; the counters are collected only for a text that may ask for them.
    async fn facts(&self, text: &str) -> ServerFacts {
        let asked = text.as_bytes().windows(5).any(|word| word.eq_ignore_ascii_case(b"stats"));
        let statistics = if asked { self.statistics().await } else { Vec::new() };
        let core_count = self.core.mesh().core_count();
        let asked = text.as_bytes().windows(11).any(|word| word.eq_ignore_ascii_case(b"diagnostics"));
        let diagnostics = if asked { diagnostics::sections(&self.core.config) } else { Vec::new() };
        ServerFacts { statistics, diagnostics, started_ns: self.core.started_ns, core_count }
    }

    fn verify_token(&self, text: &str) -> Result<Caller, AuthError> {
        let secret = self.core.config.http.shared_secret.as_bytes();
        let now_s = self.now_ns().div_euclid(1_000_000_000);
        let name = token::verify(text, secret, now_s).map_err(|error| AuthError::Unauthorized(error.to_string()))?;
        match self.core.catalog().user(&name) {
            Some(_) => Ok(Caller::User(name)),
            None => Err(unauthorized("user not found")),
        }
    }
}

fn unauthorized(text: &str) -> AuthError {
    AuthError::Unauthorized(text.to_owned())
}

impl Services for CoreServices {
    type Write = CountedWrite;
    type Query = RunningQuery;

    fn now_ns(&self) -> i64 {
        self.core.platform.now_ns()
    }

    fn health(&self) -> Health {
        match self.core.phase() {
            Phase::Serving => Health::Ready,
            Phase::Starting => Health::NotReady("starting".to_owned()),
            Phase::Stopping => Health::NotReady("stopping".to_owned()),
        }
    }

    async fn authenticate(&self, credentials: Credentials) -> Result<Caller, AuthError> {
        if !self.core.config.http.auth_enabled {
            return Ok(Caller::Trusted);
        }
        if !self.core.catalog().has_admin() {
            return Ok(Caller::NoAdminYet);
        }
        match credentials {
            Credentials::Password { user, password } => self.verify_password(&user, password).await,
            Credentials::Bearer(text) => self.verify_token(&text),
            Credentials::None | Credentials::Token(_) => {
                Err(unauthorized("unable to parse authentication credentials"))
            }
        }
    }

    fn authorize_admin(&self, caller: &Caller) -> Result<(), AuthError> {
        let is_admin = match caller {
            Caller::Trusted => true,
            Caller::NoAdminYet => false,
            Caller::User(name) => self.core.catalog().user(name).is_some_and(|user| user.admin),
        };
        if is_admin { Ok(()) } else { Err(AuthError::Forbidden("error authorizing admin access".to_owned())) }
    }

    async fn begin_write(&self, params: WriteParams) -> Result<CountedWrite, WriteError> {
        let session = self.core.ingest().begin(params)?;
        Ok(CountedWrite { core: self.core.clone(), session })
    }

    fn authorize_write(&self, caller: &Caller, database: &str) -> Result<(), AuthError> {
        let refused = |text: String| Err(AuthError::Forbidden(text));
        match caller {
            Caller::Trusted => Ok(()),
            Caller::NoAdminYet => refused(format!("user is required to write to database \"{database}\"")),
            Caller::User(name) => {
                let catalog = self.core.catalog();
                if catalog.user(name).is_some_and(|user| user.may(Privilege::Write, database)) {
                    return Ok(());
                }
                refused(format!("\"{name}\" user is not authorized to write to database \"{database}\""))
            }
        }
    }

    async fn query(&self, request: QueryRequest) -> Result<RunningQuery, QueryError> {
        let coordinator = &self.core.config.coordinator;
        let limits = Limits {
            series_max: coordinator.max_select_series,
            buckets_max: coordinator.max_select_buckets,
            points_max: coordinator.max_select_point,
            memory_bytes_max: self.core.query_bytes_max,
            memory: self.core.memory.clone(),
        };
        let facts = self.facts(&request.text).await;
        let options = query::Options { limits, server: Rc::new(facts) };
        let fabric = MeshFabric::new(self.core.clone());
        let database = request.database.clone();
        let run = query::run(fabric.clone(), request, options)?;
        let ticket = self.core.running.enter(run.text(), database);
        fabric.set_query(ticket.as_ref().map_or(0, Ticket::id));
        Ok(RunningQuery { core: self.core.clone(), run, ticket: ticket.map_err(Some), is_over: false })
    }

    async fn statistics(&self) -> Vec<Statistic> {
        let mut sums: Vec<Statistic> = Vec::new();
        for answer in self.core.mesh().call_all(|| Request::Statistics, STATISTICS_WAIT).await {
            // A core that does not answer in time is left out: the others' figures are better than none.
            let Ok(Response::Statistics(statistics)) = answer else { continue };
            for statistic in statistics {
                match sums.iter_mut().find(|sum| sum.name == statistic.name && sum.tags == statistic.tags) {
                    Some(sum) => sum.add(&statistic),
                    None => sums.push(statistic),
                }
            }
        }
        sums.sort_by(|left, right| (left.name, &left.tags).cmp(&(right.name, &right.tags)));
        sums
    }

    async fn requests_during(&self, interval: Duration) -> Vec<RequestCount> {
        let tracking = Tracking::start(&self.core).await;
        glommio::timer::sleep(interval).await;
        tracking.end().await
    }

    fn memory_bytes(&self) -> i64 {
        options::resident_bytes()
    }
}

/// Requests being counted by sender on all cores; dropping it ends that.
struct Tracking {
    core: Rc<Core>,
    id: u64,
    is_over: bool,
}

impl Tracking {
    async fn start(core: &Rc<Core>) -> Tracking {
        let tracking = Tracking { core: Rc::clone(core), id: core.running.new_id(), is_over: false };
        core.mesh().call_all(|| Request::CountRequests(tracking.id), STATISTICS_WAIT).await;
        tracking
    }

    async fn end(mut self) -> Vec<RequestCount> {
        let mut sums: Vec<RequestCount> = Vec::new();
        let answers = self.core.mesh().call_all(|| Request::CountedRequests(self.id), STATISTICS_WAIT).await;
        self.is_over = true;
        for answer in answers {
            let Ok(Response::CountedRequests(counts)) = answer else { continue };
            for count in counts {
                match sums.iter_mut().find(|sum| sum.sender == count.sender) {
                    Some(sum) => sum.add(&count),
                    None => sums.push(count),
                }
            }
        }
        sums
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        if self.is_over || self.core.phase() != Phase::Serving {
            return;
        }
        let (mesh, id) = (self.core.mesh().clone(), self.id);
        core::spawn(self.core.queues.requests, async move {
            mesh.call_all(|| Request::CountedRequests(id), STATISTICS_WAIT).await;
        });
    }
}

/// A write whose outcome is counted.
pub struct CountedWrite {
    core: Rc<Core>,
    session: Session<CoreOwners>,
}

impl WriteSession for CountedWrite {
    async fn feed(&mut self, window: &[u8], last: bool) -> Result<usize, WriteError> {
        self.session.feed(window, last).await
    }

    async fn finish(self) -> Result<Written, WriteError> {
        let outcome = self.session.finish().await;
        self.core.writes.count(&outcome);
        outcome
    }
}

/// A query over the mesh.
pub struct RunningQuery {
    core: Rc<Core>,
    run: query::QueryRun<MeshFabric>,
    /// Its place among the running ones, or why it has none, until that has been said.
    ticket: Result<Ticket, Option<String>>,
    /// It came to its own end.
    is_over: bool,
}

impl QueryRun for RunningQuery {
    async fn next(&mut self) -> Option<ResultPiece> {
        let ticket = match &mut self.ticket {
            Ok(ticket) => ticket,
            Err(refusal) => {
                return refusal.take().map(|error| ResultPiece { error: Some(error), ..ResultPiece::default() });
            }
        };
        // Looked at first: a query whose rows are always there would never be seen to wait.
        let outcome = match ticket.verdict() {
            Some(verdict) => Err(verdict),
            None => {
                let is_interruptible = self.run.is_interruptible();
                let condemned = async {
                    let verdict = ticket.condemned(glommio::timer::sleep).await;
                    if !is_interruptible.get() {
                        // Its end is soon enough.
                        std::future::pending::<()>().await;
                    }
                    Err(verdict)
                };
                let run = &mut self.run;
                or(async { Ok(run.next().await) }, condemned).await
            }
        };
        let piece = match outcome {
            Ok(piece) => piece,
            Err(verdict) => {
                self.run.interrupt(verdict.to_owned());
                self.run.next().await
            }
        };
        self.is_over = piece.is_none();
        piece
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        let Ok(ticket) = &self.ticket else { return };
        // What runs for it elsewhere ends with the core anyway when that stops.
        if (self.is_over && ticket.verdict().is_none()) || self.core.phase() != Phase::Serving {
            return;
        }
        let (mesh, id) = (self.core.mesh().clone(), ticket.id());
        core::spawn(self.core.queues.requests, async move {
            mesh.call_all(|| Request::StopQuery(id), STOP_WAIT).await;
        });
    }
}
