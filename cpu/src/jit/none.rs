//! A host for which there is no compiled tier.

use super::Exit;
use crate::bus::Bus;
use crate::engine::exec::Pure;
use crate::engine::{CodeCache, FrontEnd, Shared};

/// Never made.
#[derive(Debug)]
pub enum Jit {}

impl Jit {
    pub(crate) fn new<F: FrontEnd>(_: usize) -> Option<Jit> {
        None
    }
    pub(crate) fn compile(&mut self, _: &CodeCache, _: u32) -> Option<usize> {
        match *self {}
    }
    pub(crate) fn dispatcher(&self) -> usize {
        match *self {}
    }
    pub(crate) fn link(&mut self, _: u64, _: usize) {
        match *self {}
    }
    pub(crate) fn retire(&mut self, _: usize) {
        match *self {}
    }
    pub(crate) fn reset(&mut self) {
        match *self {}
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "as where there is a compiled tier"
)]
pub(crate) fn enter<F: FrontEnd>(
    _: &mut F,
    _: &mut Shared,
    _: &mut dyn Bus,
    _: &[Pure],
    _: usize,
    pc: u64,
    left: u64,
    _: u64,
) -> Exit {
    Exit::Next { pc, left, site: 0 }
}
