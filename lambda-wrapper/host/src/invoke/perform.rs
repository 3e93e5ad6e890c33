//! The way of one invocation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Invoke, InvokeError, Invoked};
use crate::config::OnTimeout;
use crate::environment::Environment;
use crate::machine::invocation::{Exit, Failure, Invocation, Outcome};
use crate::machine::{Machine, Reason, Stage};
use crate::pool::{Acquired, NoEnvironment, Pool};
use crate::{arn, ids};

/// Makes an invocation that was checked, and has its request ID.
pub(crate) async fn perform(pool: Arc<Pool>, invoke: Invoke) -> Result<Invoked, InvokeError> {
    let run = Run::new(&pool, &invoke);
    match pool.acquire(run.request_id, || run.begin(Instant::now())).await.map_err(refused)? {
        Acquired::Warm(environment, invocation, deadline) => {
            Ok(run.finish(environment, &invocation, deadline).await)
        }
        Acquired::Cold(environment) => run.cold(environment).await,
    }
}

/// An invocation on its way.
struct Run<'a> {
    pool: &'a Pool,
    invoke: &'a Invoke,
    request_id: &'a str,
}

impl<'a> Run<'a> {
    fn new(pool: &'a Pool, invoke: &'a Invoke) -> Self {
        let request_id = invoke.request_id.as_deref().expect("a checked invocation has its request ID");
        Self { pool, invoke, request_id }
    }

    /// Returns the time that the invocation has.
    fn timeout(&self) -> Duration {
        self.invoke.timeout.unwrap_or(self.pool.shared.function.timeout)
    }

    /// Returns the invocation as the runtime gets it, if it begins `now`, and its deadline.
    fn begin(&self, now: Instant) -> (Arc<Invocation>, Instant) {
        let shared = &self.pool.shared;
        let deadline = now + self.timeout();
        let left = deadline.saturating_duration_since(Instant::now());
        let invocation = Invocation {
            request_id: self.request_id.to_owned(),
            invocation_id: ids::nonce(),
            deadline_ms: ids::epoch_ms() + ids::ms(left),
            arn: arn::arn(&shared.config, &shared.function.name),
            trace_id: self.invoke.trace_id.clone().unwrap_or_else(ids::trace_id),
            client_context: self.invoke.client_context.clone(),
            payload: self.invoke.payload.clone(),
        };
        (Arc::new(invocation), deadline)
    }

    /// Starts an environment, and another one if that fails: the second start is a part of the
    /// invocation and of its time, as in Lambda.
    async fn cold(&self, first: Arc<Environment>) -> Result<Invoked, InvokeError> {
        match first.start(self.pool.shared.config.init).await {
            Ok(()) => return Ok(self.on_new(first, Instant::now()).await),
            Err(failure) => self.start_failed(&first, &failure).await,
        }
        let second = self.pool.another().map_err(refused)?;
        let begun = Instant::now();
        match second.start(self.timeout()).await {
            Ok(()) => Ok(self.on_new(second, begun).await),
            Err(failure) => {
                self.start_failed(&second, &failure).await;
                Ok(self.answer(&second, Outcome::Failed(failure)))
            }
        }
    }

    async fn start_failed(&self, environment: &Arc<Environment>, failure: &Failure) {
        let why = failure.document(self.request_id, self.pool.shared.config.init);
        environment.say(format!("INIT failed: {}", String::from_utf8_lossy(&why)));
        environment.end(Reason::Failure).await;
    }

    /// Runs the invocation on the environment that was started for it. Its time counts from
    /// `begun`.
    async fn on_new(&self, environment: Arc<Environment>, begun: Instant) -> Invoked {
        loop {
            let (invocation, deadline) = self.begin(begun);
            if environment.assign(&invocation, true) {
                return self.finish(environment, &invocation, deadline).await;
            }
            // A test holds it, or it has failed meanwhile.
            let usable = |machine: &Machine| machine.stage() != Stage::Idle || !machine.is_held();
            environment.machine.wait_for(usable).await;
            if environment.stage() != Stage::Idle {
                environment.end(Reason::Failure).await;
                let failure = environment.machine.look(|machine| machine.failure().cloned());
                let failure = failure.unwrap_or(Failure::Exited(Exit::Unknown));
                return self.answer(&environment, Outcome::Failed(failure));
            }
        }
    }

    /// Waits for the end of an invocation that was handed out.
    async fn finish(
        &self,
        environment: Arc<Environment>,
        invocation: &Invocation,
        deadline: Instant,
    ) -> Invoked {
        let since = Instant::now();
        environment.say(format!("START RequestId: {} Version: {}", self.request_id, arn::VERSION));
        let outcome = match environment.outcome(invocation, deadline).await {
            Some(outcome) => {
                let id = invocation.invocation_id.clone();
                tokio::spawn(Arc::clone(&environment).watch_settling(id, deadline));
                outcome
            }
            None => {
                let function = &self.pool.shared.function;
                // On a managed instance the code runs on, beside the other invocations.
                if function.on_timeout == OnTimeout::Kill && function.max_concurrency.is_none() {
                    // The caller hears of the timeout when nothing of it runs any more.
                    environment.end(Reason::Timeout).await;
                }
                Outcome::Failed(Failure::TimedOut)
            }
        };
        let taken = since.elapsed().as_secs_f64() * 1_000.0;
        let (id, memory) = (self.request_id, self.pool.shared.function.memory_mb);
        environment.say(format!("END RequestId: {id}"));
        environment.say(format!("REPORT RequestId: {id} Duration: {taken:.2} ms Memory Size: {memory} MB"));
        self.answer(&environment, outcome)
    }

    fn answer(&self, environment: &Environment, outcome: Outcome) -> Invoked {
        let id = self.request_id;
        let (payload, content_type, function_error) = match outcome {
            Outcome::Returned { body, content_type } => (body, content_type, None),
            Outcome::Failed(failure) => {
                let document = failure.document(id, self.timeout());
                (document, Some("application/json".to_owned()), Some("Unhandled"))
            }
        };
        Invoked {
            request_id: id.to_owned(),
            payload,
            content_type,
            function_error,
            environment: environment.id.clone(),
            log_tail: environment.tail.bytes(),
        }
    }
}

/// Returns the rejection of an invocation that gets no environment.
fn refused(why: NoEnvironment) -> InvokeError {
    match why {
        NoEnvironment::Throttled => InvokeError::Throttled,
        NoEnvironment::Closed => InvokeError::Unavailable("the host is stopping: start it again".to_owned()),
        NoEnvironment::System(why) => InvokeError::Unavailable(format!(
            "an environment cannot be made: {why}; free what the system lacks, or lower the concurrency"
        )),
    }
}
