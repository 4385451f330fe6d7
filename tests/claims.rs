//! The notes' claims: every verdict from made-up figures, and all of them once from real servers.

mod support;

use std::process::Command;
use support::{PATIENCE, WAITCOPY, assert_refused, watchdog};
use waitcopy::json::Value;
use waitcopy::lab::claims::evidence::{Calls, Crowd, FullSend, Late, Rounds, Switch};
use waitcopy::lab::claims::verdict as judge;
use waitcopy::lab::claims::{CLAIMS, Judgement, Verdict};

fn is(judgement: &Judgement, verdict: Verdict) {
    assert_eq!(judgement.verdict, verdict, "{judgement:#?}");
    assert!(!judgement.because.is_empty());
}

const MS: u64 = 1_000_000;

/// A model that sleeps until the data is there: a core idle, one receive a request.
const WAITING: Late = Late {
    requests: 20,
    delay: 20 * MS,
    receives: 21,
    again: 0,
    wait: 20 * MS,
    copy: 60_000,
    stamped: true,
    wall: 420 * MS,
    cpu: 4 * MS,
    part_wait: 417 * MS,
    part_receive: MS,
};

/// One that asks all the time.
const POLLING: Late = Late { receives: 100_021, again: 100_000, cpu: 419 * MS, ..WAITING };

#[test]
fn sockets_block_by_default() {
    is(&judge::default(&[("tcp", false), ("udp", false)]), Verdict::Holds);
    let mixed = judge::default(&[("tcp", false), ("accepted", true)]);
    is(&mixed, Verdict::DoesNotHold);
    assert!(mixed.because.contains("accepted") && !mixed.because.contains("tcp"));
    is(&judge::default(&[]), Verdict::Depends);
}

#[test]
fn blocked_in_both_phases() {
    is(&judge::both_phases(&WAITING), Verdict::Holds);
    // The wait was somewhere else, or the receive was asked again, or nothing was copied in it.
    is(&judge::both_phases(&Late { wait: 17 * MS, ..WAITING }), Verdict::DoesNotHold);
    is(&judge::both_phases(&Late { receives: 22, ..WAITING }), Verdict::DoesNotHold);
    is(&judge::both_phases(&Late { copy: 0, ..WAITING }), Verdict::DoesNotHold);
    is(&judge::both_phases(&Late { stamped: false, ..WAITING }), Verdict::Depends);
}

#[test]
fn the_switch() {
    let works = Switch { again: true, took: 2_000, blocked: 50 * MS };
    is(&judge::switch(&works), Verdict::Holds);
    is(&judge::switch(&Switch { again: false, ..works }), Verdict::DoesNotHold);
    is(&judge::switch(&Switch { took: 51 * MS, ..works }), Verdict::DoesNotHold);
}

#[test]
fn asking_again_and_again() {
    is(&judge::asks(&POLLING), Verdict::Holds);
    is(&judge::asks(&WAITING), Verdict::DoesNotHold);
}

#[test]
fn cpu_for_nothing() {
    is(&judge::burns_cpu(&POLLING, &WAITING), Verdict::Holds);
    // With a pause between its rounds.
    is(&judge::burns_cpu(&Late { cpu: 40 * MS, ..POLLING }, &WAITING), Verdict::Depends);
    is(&judge::burns_cpu(&WAITING, &WAITING), Verdict::DoesNotHold);
    // Busy, but with data.
    is(&judge::burns_cpu(&Late { again: 10, ..POLLING }, &WAITING), Verdict::DoesNotHold);
}

/// Models whose latency and CPU per request grow so many times with the silent clients.
fn crowd(grown: [(&'static str, f64); 3]) -> Vec<Crowd> {
    let of = |(model, times): (&'static str, f64)| Crowd {
        model,
        steps: vec![(0, 10_000, 5_000), (900, (1e4 * times) as u64, (5e3 * times) as u64)],
    };
    grown.map(of).into()
}

#[test]
fn late_answers_with_many_connections() {
    let judged = |polling, epoll| {
        judge::late_answers(&crowd([("nonblocking", polling), ("epoll", epoll), ("select", 1.0)]))
    };
    is(&judged(6.0, 1.0), Verdict::Holds);
    is(&judged(1.5, 1.0), Verdict::Depends);
    is(&judged(1.1, 1.0), Verdict::DoesNotHold);
    // The machine as a whole became slower.
    is(&judged(6.0, 6.5), Verdict::DoesNotHold);
    is(&judge::late_answers(&[]), Verdict::Depends);
}

#[test]
fn polling_all_sockets() {
    let judged = |select, epoll| {
        judge::polls_all(&crowd([("select", select), ("poll", select), ("epoll", epoll)]))
    };
    let one = judged(4.0, 1.0);
    is(&one, Verdict::Depends);
    assert!(one.because.contains("true of select") && one.because.contains("not of epoll"));
    is(&judged(1.5, 1.0), Verdict::Depends);
    is(&judged(4.0, 3.0), Verdict::Holds);
    is(&judged(1.1, 1.0), Verdict::DoesNotHold);
    is(&judge::polls_all(&[]), Verdict::Depends);
}

#[test]
fn many_connections_at_once() {
    let judged = |blocking, select, epoll| {
        judge::many_at_once(&[("blocking", blocking), ("select", select), ("epoll", epoll)])
    };
    is(&judged(1, 100, 100), Verdict::Holds);
    is(&judged(100, 100, 100), Verdict::DoesNotHold);
    is(&judged(1, 60, 100), Verdict::Depends);
    is(&judged(1, 60, 60), Verdict::DoesNotHold);
}

#[test]
fn a_read_after_readiness() {
    let calls = |receives| Calls { requests: 1_000, readiness: 1_000, receives };
    let (select, ring) = (("select", calls(1_001)), ("io-uring", calls(0)));
    is(&judge::then_read(&[select, ("epoll", calls(1_000))]), Verdict::Holds);
    let both = judge::then_read(&[select, ring]);
    is(&both, Verdict::Depends);
    assert!(both.because.contains("true of select") && both.because.contains("not of io-uring"));
    is(&judge::then_read(&[ring]), Verdict::DoesNotHold);
    is(&judge::then_read(&[("select", Calls::default())]), Verdict::Depends);
    is(&judge::then_read(&[]), Verdict::Depends);
}

#[test]
fn two_calls_for_one() {
    let calls = |readiness, receives| Calls { requests: 1_000, readiness, receives };
    is(&judge::two_calls(&calls(0, 1_001), &calls(1_002, 1_001)), Verdict::Holds);
    is(&judge::two_calls(&calls(0, 1_001), &calls(1_002, 2_001)), Verdict::DoesNotHold);
    is(&judge::two_calls(&Calls::default(), &Calls::default()), Verdict::DoesNotHold);
}

fn rounds(rate: &[f64], p99: &[f64], cpu: &[f64]) -> Rounds {
    Rounds { rate: rate.into(), p99: p99.into(), cpu: cpu.into() }
}

#[test]
fn a_single_connection() {
    let judged = |rate: [f64; 2], cpu: [f64; 2]| judge::single(&rounds(&rate, &[1.0], &cpu));
    is(&judged([0.9, 0.95], [1.1, 1.2]), Verdict::Holds);
    is(&judged([0.9, 1.1], [1.1, 1.2]), Verdict::Holds);
    is(&judged([0.9, 0.95], [0.9, 1.2]), Verdict::Holds);
    is(&judged([0.9, 1.1], [0.9, 1.1]), Verdict::Depends);
    is(&judged([1.1, 1.2], [0.8, 0.9]), Verdict::DoesNotHold);
    is(&judge::single(&Rounds::default()), Verdict::Depends);
}

#[test]
fn few_connections() {
    let (slower, faster) =
        (rounds(&[0.5, 0.9], &[2.0, 3.0], &[1.0]), rounds(&[0.9, 1.1], &[0.5, 0.9], &[1.0]));
    let judged = |one: &Rounds, many: &Rounds| judge::few(&[(1, one.clone()), (64, many.clone())]);
    let all = judged(&faster, &faster);
    is(&all, Verdict::Holds);
    assert!(all.because.contains("larger one with 1, 64"), "{}", all.because);
    is(&judged(&slower, &slower), Verdict::DoesNotHold);
    let some = judged(&faster, &slower);
    is(&some, Verdict::Depends);
    assert!(some.because.contains("holds with 1, with 64 epoll was faster"), "{}", some.because);
    is(&judge::few(&[]), Verdict::Depends);
}

#[test]
fn blocked_by_select_and_not_by_the_sockets() {
    let busy = Late { part_wait: 40 * MS, part_receive: 50 * MS, ..WAITING };
    is(&judge::blocked_by_select(&WAITING, &busy), Verdict::Depends);
    is(&judge::blocked_by_select(&WAITING, &WAITING), Verdict::Holds);
    // It slept in the receive.
    let in_receive = Late { part_wait: MS, part_receive: 400 * MS, ..WAITING };
    is(&judge::blocked_by_select(&in_receive, &busy), Verdict::DoesNotHold);
}

#[test]
fn what_cannot_be_measured_names_a_source() {
    is(&judge::documented("so it is"), Verdict::Documented);
    let send = FullSend { given: 4 << 20, blocking: 50 * MS, nonblocking: 400_000, taken: 1 << 20 };
    is(&judge::nonblocking_sockets(&send), Verdict::Documented);
    for claim in &CLAIMS {
        let unmeasured = claim.test.starts_with("nothing to measure");
        assert!(!unmeasured || claim.source.is_some(), "{}", claim.name);
    }
}

/// On the real machine: the verdicts that do not depend on its speed, and each figure as the JSON has it.
#[test]
fn every_claim_is_judged_here() {
    watchdog(PATIENCE, || {
        let quick = ["claims", "--duration", "60ms", "--rounds", "1", "--json"];
        let output = Command::new(WAITCOPY).args(quick).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let json = Value::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let Some(Value::List(claims)) = json.get("claims") else { panic!("{json}") };
        let text = |claim: &Value, member: &str| match claim.get(member) {
            Some(Value::Text(text)) => text.clone(),
            other => panic!("{member}: {other:?}"),
        };
        let names: Vec<_> = claims.iter().map(|claim| text(claim, "name")).collect();
        assert_eq!(names, CLAIMS.each_ref().map(|claim| claim.name));
        let verdict = |name: &str| {
            text(claims.iter().find(|claim| text(claim, "name") == name).unwrap(), "verdict")
        };
        for name in ["default", "switch", "both-phases", "asks", "two-calls", "many-at-once"] {
            assert_eq!(verdict(name), "holds", "{name}: {json:#}");
        }
        for name in ["nonblocking-sockets", "fork-on-linux", "paramiko", "authorized-keys"] {
            assert_eq!(verdict(name), "documented");
        }
        assert!(json.get("environment.kernel").is_some());
    });
}

#[test]
fn nonsense_is_refused() {
    watchdog(PATIENCE, || {
        let refused = |args: &[&str], said| {
            assert_refused(Command::new(WAITCOPY).arg("claims").args(args), 2, said);
        };
        refused(&["--rounds", "0"], "--rounds 0: a whole number, 1 or more");
        refused(&["--duration", "soon"], "--duration soon: a time has a unit");
        refused(&["epoll"], "'epoll' is one argument too many");
    });
}
