#![deny(unsafe_code)]
//! x
pub mod sys;
