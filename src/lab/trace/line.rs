//! One line of a trace.

use super::Traced;

/// What a line tells.
pub(super) enum Event<'l> {
    /// A signal.
    Signal(&'l str),
    /// The first half of a call.
    Begun(&'l str),
    /// The name and the second half of one.
    Resumed(&'l str, &'l str),
    /// All of a call.
    Whole(&'l str),
    /// An end, a stack frame, a word of strace about itself.
    Nothing,
}

/// Who and what; `None` for what is no line of a trace.
pub(super) fn event(line: &str) -> Option<(u32, Event<'_>)> {
    // `-k` lists stack frames; a trace on a terminal has strace's own messages.
    if line.starts_with(" > ") || line.starts_with("strace: ") {
        return Some((0, Event::Nothing));
    }
    let (pid, event) = stamped(line)?;
    let event = if let Some(signal) = event.strip_prefix("--- ") {
        Event::Signal(signal)
    } else if event.starts_with("+++ ") || event.ends_with("<detached ...>") {
        Event::Nothing
    } else if let Some(rest) = event.strip_prefix("<... ") {
        let (name, half) = rest.split_once(" resumed>")?;
        Event::Resumed(name, half)
    } else if let Some(half) = event.strip_suffix("<unfinished ...>") {
        Event::Begun(half.strip_suffix(' ').unwrap_or(half))
    } else {
        Event::Whole(event)
    };
    Some((pid, event))
}

/// Takes `831 `, `[pid 831] ` and the time stamps off.
fn stamped(line: &str) -> Option<(u32, &str)> {
    let bracketed = line.strip_prefix("[pid ").and_then(|rest| rest.split_once(']'));
    let (pid, mut rest) = match bracketed.or_else(|| line.split_once(' ')) {
        Some((word, rest)) if word.trim().bytes().all(|b| b.is_ascii_digit()) => {
            // A relative time stamp may begin with blanks: no number.
            (if word.is_empty() { 0 } else { word.trim().parse().ok()? }, rest.trim_start())
        }
        _ => (0, line),
    };
    // `14:42:14.556696`, `1764081734.556696`, `0.000123`, `(+ 0.000123)`
    while let Some((word, after)) = rest.split_once(' ') {
        let stamp = |b: u8| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'(' | b'+' | b')');
        if word.is_empty() || !word.bytes().all(stamp) || word.bytes().all(|b| b == b'+') {
            break;
        }
        rest = after.trim_start();
    }
    Some((pid, rest))
}

/// `recvfrom(5, `: what is known of a call that has not returned.
pub(super) fn begun(half: &str) -> Option<Traced> {
    let (call, args) = half.split_once('(')?;
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'?';
    (!call.is_empty() && call.bytes().all(named)).then(|| Traced {
        line: 0,
        pid: 0,
        call: call.to_owned(),
        args: args.to_owned(),
        result: None,
        errno: None,
        injected: false,
    })
}

/// `close(5)    = 0`, `recvfrom(5, ...) = -1 EAGAIN (Resource ...) (INJECTED)`, `select(...) = ? ERESTARTNOHAND (...) <0.000012>`
pub(super) fn whole(event: &str) -> Option<Traced> {
    // No result holds " = "; a buffer may.
    let (head, result) = event.rsplit_once(" = ")?;
    let result = without_duration(result);
    let (head, mut words) = (head.trim_end(), result.split(' '));
    let value = words.next()?;
    let number = value.split('<').next()?;
    let number = number.strip_prefix("0x").map_or_else(
        || number.parse().ok(),
        // Addresses beyond i64 have no meaning here.
        |hexadecimal| i64::from_str_radix(hexadecimal, 16).ok(),
    );
    if number.is_none() && value != "?" && !value.starts_with("0x") {
        return None;
    }
    let errno = words.next().filter(|word| word.starts_with('E')).map(str::to_owned);
    let injected = result.ends_with("(INJECTED)") || result.ends_with("(DELAYED)");
    let call = begun(head.strip_suffix(')').unwrap_or(head))?;
    Some(Traced { result: number, errno, injected, ..call })
}

/// Takes the ` <0.000012>` of `-T` off.
fn without_duration(result: &str) -> &str {
    let duration = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match result.strip_suffix('>').and_then(|rest| rest.rsplit_once(" <")) {
        Some((rest, time)) if duration(time) => rest,
        _ => result,
    }
}
