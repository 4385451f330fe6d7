//! `waitcopy inspect MODEL`: its system calls, and what each of them is for.

use super::output::Output;
use super::serve::find_model;
use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::inspect::{
    self, Inspection, KernelPage, KernelTable, Page, Paint, Plan, Script, Sentence, Watched,
};
use crate::lab::machine;
use crate::lab::trace::Trace;
use crate::model::{CATALOGUE, Model};
use crate::net::{Endpoint, Transport};
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let names = parsed.texts().map_err(Exit::usage)?;
    let Some(&name) = names.first() else {
        let names: Vec<_> = CATALOGUE.iter().map(|model| model.name).collect();
        return Err(Exit::usage(format!("which model? all, or one of {}", names.join(", "))));
    };
    belongings(parsed)?;
    if parsed.has("file") {
        return annotated(parsed, find_model(name)?);
    }
    let endpoint = endpoint(parsed)?;
    let transport = endpoint.transport();
    let models: Vec<&'static Model> = if name == "all" {
        let models = super::available(transport).into_iter();
        models.filter(|model| model.serves(transport).is_ok()).collect()
    } else {
        let model = find_model(name)?;
        model.serves(transport).map_err(|why| {
            Exit::usage(format!("{name} does not serve {}: {why}", transport.name()))
        })?;
        super::must_run(model, transport)?;
        vec![model]
    };
    if parsed.has("kernel") {
        watched(parsed, &models, endpoint)
    } else {
        traced(parsed, &models, endpoint)
    }
}

/// With the kernel watching.
fn watched(parsed: &Parsed, models: &[&'static Model], endpoint: Endpoint) -> Result<(), Exit> {
    let number = |name, otherwise| {
        parsed.number(name, 1).map(|n| n.unwrap_or(otherwise)).map_err(Exit::usage)
    };
    let (messages, size) = (number("messages", 20)?, number("size", 64)?);
    let late = parsed.duration("late").map_err(Exit::usage)?.unwrap_or(Duration::from_millis(5));
    let mut runs = Vec::new();
    for &model in models {
        let script = Script { clients: 1, messages, in_turn: true, late, size };
        let watched = inspect::watch(&Plan { model, endpoint, script });
        runs.push(watched.map_err(|trouble| super::of_kernel(trouble, model))?);
    }
    if parsed.has("json") {
        let mut values: Vec<_> = runs.iter().map(Watched::to_json).collect();
        let value = if values.len() == 1 { values.remove(0) } else { Value::List(values) };
        return print(format_args!("{value:#}\n"));
    }
    if let [one] = &runs[..] { print(KernelPage(one)) } else { print(KernelTable(&runs)) }
}

/// Flags that contradict each other.
fn belongings(parsed: &Parsed) -> Result<(), Exit> {
    let given = |names: &[&'static str]| names.iter().copied().find(|name| parsed.has(name));
    let all = parsed.texts().is_ok_and(|names| names.first() == Some(&"all"));
    let refused = if parsed.has("file") {
        given(&["raw", "clients", "messages", "udp", "unix", "unixgram", "kernel"])
            .map(|flag| format!("--file runs nothing, so --{flag} has no meaning"))
    } else if parsed.has("kernel") {
        given(&["raw", "all", "clients"])
            .map(|flag| format!("--kernel runs without strace and with one client: no --{flag}"))
    } else {
        given(&["late", "size"]).map(|flag| format!("--{flag} belongs to --kernel"))
    };
    let refused = refused.or_else(|| match (all, given(&["raw", "file"])) {
        (true, Some(flag)) => Some(format!("--{flag} is of one model, not of all")),
        _ => None,
    });
    refused.map_or(Ok(()), |said| Err(Exit::usage(said)))
}

fn endpoint(parsed: &Parsed) -> Result<Endpoint, Exit> {
    let named = Transport::ALL.into_iter().filter(|(_, name)| parsed.has(name));
    let named: Vec<_> = named.collect();
    if let [(_, one), (_, other), ..] = named[..] {
        return Err(Exit::usage(format!("--{one} and --{other}: one transport at a time")));
    }
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match named.first() {
        None => Ok(Endpoint::Tcp(free)),
        Some((Transport::Udp, _)) => Ok(Endpoint::Udp(free)),
        Some((transport, name)) => {
            let path = parsed.value(name).unwrap_or_default();
            Ok(Endpoint::at_path(*transport, Path::new(path))?)
        }
    }
}

/// A trace that somebody else has made.
fn annotated(parsed: &Parsed, model: &'static Model) -> Result<(), Exit> {
    let path = parsed.value("file").unwrap_or_default();
    let trace = Trace::read(Path::new(path)).map_err(Exit::failed)?;
    if trace.calls.is_empty() {
        return Err(Exit::failed(format!(
            "{path}: no system call in it: strace -f -o {path} COMMAND writes one"
        )));
    }
    let transport = inspect::transport(&trace);
    show(parsed, &[&Inspection::of(&trace, model, transport, None)])
}

/// Traces that are made here.
fn traced(parsed: &Parsed, models: &[&'static Model], endpoint: Endpoint) -> Result<(), Exit> {
    let number = |name, otherwise| {
        parsed.number(name, 1).map(|n| n.unwrap_or(otherwise)).map_err(Exit::usage)
    };
    let (clients, messages) = (number("clients", 1)?, number("messages", 3)?);
    // Before anything runs: a path that cannot be written is told at once.
    let raw = Output::asked(parsed, "raw")?;
    let strace = machine::strace();
    if !strace.good {
        return Err(Exit::unavailable(format!("strace: {}: {}", strace.found, strace.remedy)));
    }
    let mut runs = Vec::new();
    for &model in models {
        let in_turn = model.is_exempt("neighbour");
        let script = Script { clients, messages, in_turn, late: Duration::ZERO, size: 0 };
        let run = inspect::run(&Plan { model, endpoint, script });
        let run = run.map_err(|said| Exit::failed(format!("{}: {said}", model.name)))?;
        if let Some(raw) = &raw {
            raw.write(&run.text)?;
        }
        runs.push((model, run));
    }
    let transport = endpoint.transport();
    let inspections: Vec<_> = runs
        .iter()
        .map(|(model, run)| Inspection::of(&run.trace, model, transport, run.server))
        .collect();
    show(parsed, &inspections.iter().collect::<Vec<_>>())
}

fn show(parsed: &Parsed, inspections: &[&Inspection<'_>]) -> Result<(), Exit> {
    let all = parsed.has("all");
    if parsed.has("json") {
        let mut values: Vec<_> = inspections.iter().map(|one| one.to_json(all)).collect();
        let one = if let ([_], Some(value)) = (inspections, values.pop()) {
            value
        } else {
            Value::List(inspections.iter().map(|one| one.to_json(all)).collect())
        };
        print(format_args!("{one:#}\n"))?;
    } else if let [inspection] = inspections {
        let plain = !io::stdout().is_terminal()
            || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let paint = if plain { Paint::Plain } else { Paint::Ansi };
        print(Page { inspection, all, paint })?;
    } else {
        inspections.iter().try_for_each(|one| {
            let calls = one.counts.per_request().map_or("?".to_owned(), |n| format!("{n:.3}"));
            print(format_args!(
                "{:<12} {calls:>6} calls per request; {}\n",
                one.model.name,
                Sentence(one)
            ))
        })?;
    }
    let strays: Vec<_> =
        inspections.iter().filter(|one| !one.agrees()).map(|one| one.model.name).collect();
    if strays.is_empty() {
        return Ok(());
    }
    Err(Exit::failed(format!("not what the catalogue says: {}", strays.join(", "))))
}
