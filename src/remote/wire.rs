//! Numbers and strings as SSH writes them (RFC 4251, section 5).

/// Takes a `uint32` off the front.
pub(super) fn number(rest: &mut &[u8]) -> Option<u32> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*first))
}

/// Takes a `string` off the front. Its length is believed only as far as there are bytes.
pub(super) fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest)?).ok()?;
    let (string, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(string)
}

/// Appends a `string`; `None`, and nothing appended, for 4 GiB and more.
pub(super) fn put_string(message: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    let len = u32::try_from(string.len()).ok()?;
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(string);
    Some(())
}
