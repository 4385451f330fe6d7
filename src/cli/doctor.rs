use super::{Exit, Parsed};
pub(super) fn run(_: &Parsed) -> Result<(), Exit> {
    Err(Exit::failed("x"))
}
