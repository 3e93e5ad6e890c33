//! Goal: an environment takes the states of Lambda's, and rejects calls that do not fit. Method:
//! calls in the order of each story.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::invocation::{Exit, Failure, Invocation, Outcome};
use super::{Audience, Event, ExtensionEvent, Machine, Reason, Rejected, Stage};

fn invocation(request_id: &str, invocation_id: &str) -> Arc<Invocation> {
    Arc::new(Invocation {
        request_id: request_id.to_owned(),
        invocation_id: invocation_id.to_owned(),
        deadline_ms: 1,
        arn: "arn".to_owned(),
        trace_id: "Root=1".to_owned(),
        client_context: None,
        payload: Bytes::from_static(b"{}"),
    })
}

fn returned() -> Outcome {
    Outcome::Returned { body: Bytes::from_static(b"1"), content_type: None }
}

/// Returns an environment without extensions whose runtime has asked for its first event.
fn idle(freezes: bool) -> Machine {
    let mut machine = Machine::new(Vec::new(), freezes);
    machine.runtime_started();
    machine.runtime_next(Instant::now()).unwrap();
    assert_eq!(machine.stage(), Stage::Idle);
    machine
}

/// Returns an environment whose runtime works on the request `r` with the nonce `n`.
fn busy() -> Machine {
    let mut machine = idle(false);
    machine.assign(invocation("r", "n"));
    assert_eq!(machine.take_invocation().unwrap().request_id, "r");
    machine
}

fn status<T>(result: Result<T, Rejected>) -> (u16, &'static str) {
    result.err().map_or((200, ""), |rejected| (rejected.status, rejected.error_type))
}

/// Returns an environment of a managed instance, of which two connections have asked for events.
fn managed() -> Machine {
    let mut machine = Machine::managed(Vec::new(), 2);
    machine.runtime_started();
    assert_eq!((machine.stage(), machine.takes_soon()), (Stage::Init, 1));
    for _ in 0..2 {
        machine.runtime_next(Instant::now()).unwrap();
    }
    assert_eq!(machine.stage(), Stage::Idle);
    machine
}

#[test]
fn a_managed_instance_takes_several_invocations() {
    let mut machine = managed();
    assert!(!machine.is_free(), "the first one is the invocation that it was started for");
    machine.assign(invocation("r", "n"));
    assert!(machine.is_free_for("s") && !machine.is_free_for("r"), "a request runs once at a time");
    machine.assign(invocation("s", "m"));
    assert!(!machine.is_free() && machine.takes_soon() == 0);
    for id in ["r", "s"] {
        assert_eq!(machine.take_invocation().unwrap().request_id, id);
    }
    // They end in the other order, and each outcome is kept for its own caller.
    for (request, nonce) in [("s", "m"), ("r", "n")] {
        assert_eq!(machine.begin_response(request, Some(nonce)).unwrap(), nonce);
        machine.end_response(nonce, returned()).unwrap();
        assert!(!machine.is_settling_after(nonce), "nobody waits for that");
    }
    assert_eq!((machine.stage(), machine.takes_soon()), (Stage::Settling, 2));
    assert!(!machine.is_free(), "no connection asks for an event");
    machine.runtime_next(Instant::now()).unwrap();
    assert!(machine.is_free() && machine.stage() == Stage::Idle);
    assert_eq!((machine.take_outcome("n"), machine.take_outcome("m")), (Some(returned()), Some(returned())));
    assert!(!machine.freeze_if_idle(), "it is never frozen");
}

#[test]
fn an_event_waits_for_another_poller_if_its_own_leaves() {
    let mut machine = managed();
    machine.assign(invocation("r", "n"));
    machine.poller_left();
    assert!(!machine.is_free(), "the other one has got the event");
    assert_eq!(status(machine.begin_response("r", None)), (403, "InvalidStateTransition"));
    assert!(machine.take_invocation().is_some());
    machine.begin_response("r", None).unwrap();
    machine.end_response("n", returned()).unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    machine.poller_left();
    assert!(!machine.is_free() && machine.takes_soon() == 2, "it may ask again");
}

#[test]
fn a_zombie_of_a_managed_instance_runs_beside_the_others() {
    let mut machine = managed();
    machine.assign(invocation("r", "n"));
    assert!(machine.take_invocation().is_some());
    assert!(machine.time_out("n") && !machine.time_out("n"));
    assert_eq!(machine.stage(), Stage::Settling);
    // Its retry gets the other connection, and the nonce tells the two apart.
    assert!(machine.is_free_for("r"));
    machine.assign(invocation("r", "m"));
    assert!(machine.take_invocation().is_some());
    assert_eq!(status(machine.begin_response("r", Some("n"))), (410, "InvokeTimeout"));
    assert_eq!(machine.begin_response("r", Some("m")).unwrap(), "m");
    machine.end_response("m", returned()).unwrap();
}

#[test]
fn a_crash_of_a_managed_instance_fails_all_but_those_that_answer() {
    let mut machine = managed();
    for (request, nonce) in [("r", "n"), ("s", "m")] {
        machine.assign(invocation(request, nonce));
        assert!(machine.take_invocation().is_some());
    }
    machine.begin_response("s", None).unwrap();
    machine.runtime_ended(Exit::Status(3));
    let crash = Outcome::Failed(Failure::Exited(Exit::Status(3)));
    assert_eq!(machine.take_outcome("n"), Some(crash));
    machine.end_response("m", returned()).unwrap();
    assert_eq!(machine.take_outcome("m"), Some(returned()));
    assert!(machine.failure().is_some() && !machine.is_free() && machine.takes_soon() == 0);
}

#[test]
fn extensions_of_managed_instances_hear_of_the_end_alone() {
    let mut machine = Machine::managed(vec!["ext".to_owned()], 2);
    let unsupported = (403, "Extension.InvalidEventType");
    assert_eq!(status(machine.register("ext", &[Event::Invoke, Event::Shutdown], "1")), unsupported);
    machine.register("ext", &[Event::Shutdown], "1").unwrap();
    machine.runtime_started();
    machine.runtime_next(Instant::now()).unwrap();
    assert_eq!(machine.stage(), Stage::Init, "the extension is not ready");
    machine.extension_next("1", Instant::now()).unwrap();
    machine.assign(invocation("r", "n"));
    assert_eq!(machine.take_event("1"), None);
    assert!(machine.begin_end());
    machine.send_shutdown(Reason::Spindown, 7);
    assert!(machine.take_event("1").is_some());
}

#[test]
fn an_invocation_goes_around() {
    let mut machine = busy();
    assert_eq!(machine.stage(), Stage::Busy);
    assert_eq!(machine.begin_response("r", Some("n")).unwrap(), "n");
    machine.end_response("n", returned()).unwrap();
    assert!(machine.is_settling_after("n") && !machine.is_settling_after("m"));
    machine.runtime_next(Instant::now()).unwrap();
    assert_eq!(machine.stage(), Stage::Idle);
    assert!(!machine.is_free(), "its outcome is not taken");
    assert_eq!(machine.take_outcome("another"), None);
    assert_eq!(machine.take_outcome("n"), Some(returned()));
    assert!(machine.is_free() && machine.idle_since().is_some());
}

#[test]
fn calls_that_do_not_fit_are_rejected() {
    let transition = (403, "InvalidStateTransition");
    let mut machine = Machine::new(Vec::new(), false);
    assert_eq!(status(machine.runtime_next(Instant::now())), transition, "there is no runtime");
    machine.runtime_started();
    assert_eq!(status(machine.begin_response("r", None)), transition, "before the first event");

    let mut machine = busy();
    assert_eq!(status(machine.runtime_next(Instant::now())), transition, "an invocation is open");
    assert_eq!(status(machine.init_error(Failure::TimedOut)), transition, "the start is over");
    assert_eq!(status(machine.begin_response("x", None)), (400, "InvalidRequestID"));
    assert_eq!(status(machine.begin_response("r", Some("x"))), (400, "InvalidRequestID"), "another's nonce");
    machine.begin_response("r", None).unwrap();
    assert_eq!(status(machine.begin_response("r", None)), transition, "a second response meanwhile");
    machine.end_response("n", returned()).unwrap();
    assert_eq!(status(machine.begin_response("r", None)), transition, "a second response afterwards");
}

#[test]
fn an_event_that_was_not_fetched_is_not_answered() {
    let mut machine = idle(false);
    machine.assign(invocation("r", "n"));
    assert_eq!(status(machine.begin_response("r", None)), (403, "InvalidStateTransition"));
    machine.runtime_next(Instant::now()).expect("a runtime that lost its connection calls again");
    assert!(machine.take_invocation().is_some());
}

#[test]
fn a_late_response_is_told_of_the_timeout() {
    let mut machine = busy();
    assert!(!machine.time_out("x"), "another invocation");
    assert!(machine.time_out("n"));
    assert_eq!((machine.stage(), machine.take_outcome("n")), (Stage::TimedOut, None));
    assert_eq!(status(machine.begin_response("r", None)), (410, "InvokeTimeout"));
    machine.runtime_next(Instant::now()).unwrap();
    assert!(machine.is_free(), "the zombie has come to its end");
    // The same request again: the nonce tells the two apart.
    machine.assign(invocation("r", "m"));
    assert!(machine.take_invocation().is_some());
    assert_eq!(status(machine.begin_response("r", Some("n"))), (410, "InvokeTimeout"));
    assert_eq!(machine.begin_response("r", Some("m")).unwrap(), "m");
}

#[test]
fn a_timeout_while_a_response_is_read_counts() {
    let mut machine = busy();
    machine.begin_response("r", None).unwrap();
    assert!(machine.time_out("n"));
    assert_eq!(status(machine.end_response("n", returned())), (410, "InvokeTimeout"));
    assert_eq!(machine.take_outcome("n"), None);
}

#[test]
fn an_answer_before_the_timeout_counts() {
    let mut machine = busy();
    machine.begin_response("r", None).unwrap();
    machine.end_response("n", returned()).unwrap();
    assert!(!machine.time_out("n"));
    assert_eq!(machine.take_outcome("n"), Some(returned()));
}

#[test]
fn a_crash_fails_the_open_invocation() {
    let mut machine = busy();
    let crash = Failure::Exited(Exit::Status(3));
    machine.runtime_ended(Exit::Status(3));
    assert_eq!(machine.take_outcome("n"), Some(Outcome::Failed(crash.clone())));
    assert_eq!(machine.failure(), Some(&crash));
    assert!(!machine.is_free() && !machine.runtime_runs());
}

#[test]
fn a_crash_behind_a_response_that_is_read_does_not_spoil_it() {
    let mut machine = busy();
    machine.begin_response("r", None).unwrap();
    machine.runtime_ended(Exit::Status(0));
    machine.end_response("n", returned()).unwrap();
    assert_eq!(machine.take_outcome("n"), Some(returned()));
    assert!(machine.failure().is_some(), "the environment is lost all the same");
}

#[test]
fn a_crash_of_an_idle_environment_takes_it_away() {
    let mut machine = idle(true);
    machine.runtime_ended(Exit::Signal(9));
    assert!(!machine.is_free() && machine.failure().is_some() && machine.idle_since().is_none());
}

#[test]
fn an_error_at_the_start_is_the_failure() {
    let mut machine = Machine::new(Vec::new(), false);
    machine.runtime_started();
    let reported = Failure::Reported(Bytes::from_static(b"{}"));
    machine.init_error(reported.clone()).unwrap();
    machine.runtime_ended(Exit::Status(1));
    assert_eq!(machine.failure(), Some(&reported), "the first reason stays");
}

#[test]
fn extensions_register_before_the_runtime_is_ready() {
    let mut machine = Machine::new(vec!["ext".to_owned()], false);
    assert!(!machine.extensions_registered());
    let state = "Extension.InvalidExtensionState";
    machine.register("ext", &[Event::Invoke, Event::Shutdown], "1").unwrap();
    assert_eq!(status(machine.register("ext", &[], "2")), (403, state));
    assert_eq!(status(machine.register("", &[], "2")), (403, "Extension.InvalidExtensionName"));
    assert!(machine.extensions_registered());
    machine.runtime_started();
    let unsupported = (403, "Extension.InvalidEventType");
    assert_eq!(status(machine.register("inner", &[Event::Shutdown], "2")), unsupported);
    machine.register("inner", &[Event::Invoke], "2").unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    assert_eq!(machine.stage(), Stage::Init, "the extensions are not ready");
    assert_eq!(status(machine.register("late", &[], "3")), (403, "Extension.RegistrationClosed"));
    let unknown = (403, "Extension.UnknownExtensionIdentifier");
    assert_eq!(status(machine.extension_next("9", Instant::now())), unknown);
    machine.extension_next("1", Instant::now()).unwrap();
    machine.extension_next("2", Instant::now()).unwrap();
    assert_eq!((machine.stage(), machine.audience()), (Stage::Idle, Audience::ExternalExtensions));
}

#[test]
fn an_environment_settles_with_its_last_extension() {
    let mut machine = Machine::new(vec!["ext".to_owned()], true);
    machine.register("ext", &[Event::Invoke], "1").unwrap();
    machine.runtime_started();
    machine.extension_next("1", Instant::now()).unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    assert!(!machine.freeze_if_idle(), "its first invocation comes at once");
    machine.assign(invocation("r", "n"));
    assert!(machine.take_invocation().is_some());
    assert!(
        matches!(machine.take_event("1"), Some(ExtensionEvent::Invoke(event)) if event.request_id == "r")
    );
    machine.begin_response("r", None).unwrap();
    machine.end_response("n", returned()).unwrap();
    machine.take_outcome("n").unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    assert!(!machine.freeze_if_idle() && machine.stage() == Stage::Settling, "the extension works");
    machine.extension_next("1", Instant::now()).unwrap();
    assert!(machine.freeze_if_idle() && machine.is_stopped(), "now all of them wait");
    assert!(!machine.freeze_if_idle(), "once");
    assert!(machine.thaw() && !machine.is_stopped());
}

#[test]
fn a_held_environment_gets_no_invocation_and_stays_stopped() {
    let mut machine = idle(true);
    machine.assign(invocation("r", "n"));
    machine.take_invocation().unwrap();
    assert!(machine.hold() && machine.is_held());
    assert!(machine.release(), "a busy one goes on");
    machine.begin_response("r", None).unwrap();
    machine.end_response("n", returned()).unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    machine.take_outcome("n").unwrap();
    assert!(machine.freeze_if_idle());
    assert!(machine.hold() && !machine.is_free());
    assert!(!machine.release() && machine.is_stopped(), "a frozen one stays frozen");
}

#[test]
fn an_end_hands_out_shutdown_and_waits_for_those_who_hear_it() {
    let mut machine = Machine::new(vec!["a".to_owned(), "b".to_owned()], false);
    machine.register("a", &[Event::Shutdown], "1").unwrap();
    machine.register("b", &[Event::Invoke], "2").unwrap();
    machine.runtime_started();
    machine.extension_next("1", Instant::now()).unwrap();
    machine.extension_next("2", Instant::now()).unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    assert!(machine.begin_end() && !machine.begin_end());
    machine.send_shutdown(Reason::Spindown, 7);
    let event = ExtensionEvent::Shutdown { reason: Reason::Spindown, deadline_ms: 7 };
    assert_eq!((machine.take_event("1"), machine.take_event("2")), (Some(event), None));
    assert!(!machine.shutdown_is_done());
    machine.extension_ended("a", Exit::Status(0));
    assert!(machine.shutdown_is_done() && machine.failure().is_none(), "an end is no failure");
    machine.runtime_ended(Exit::Signal(15));
    assert!(machine.failure().is_none());
    machine.gone();
    assert_eq!(machine.stage(), Stage::Gone);
}

#[test]
fn an_end_fails_the_open_invocation() {
    let mut machine = busy();
    assert!(machine.begin_end());
    assert_eq!(machine.take_outcome("n"), Some(Outcome::Failed(Failure::Exited(Exit::Signal(9)))));
}

#[test]
fn a_crash_of_an_extension_fails_the_invocation() {
    let mut machine = Machine::new(vec!["a".to_owned()], false);
    machine.register("a", &[], "1").unwrap();
    machine.runtime_started();
    machine.extension_next("1", Instant::now()).unwrap();
    machine.runtime_next(Instant::now()).unwrap();
    machine.assign(invocation("r", "n"));
    machine.extension_ended("a", Exit::Status(2));
    let crash = Failure::ExtensionCrashed { name: "a".to_owned(), exit: Exit::Status(2) };
    assert_eq!(machine.take_outcome("n"), Some(Outcome::Failed(crash)));
}
