//! Real mode: the interrupt vector table (Intel SDM vol. 3 §20.1.4).

use super::*;

impl Cpu {
    pub(super) fn enter_real(&mut self, env: &mut Env<'_>, event: Event) -> Result<(), Fault> {
        let at = u64::from(event.vector) * 4;
        if at + 3 > u64::from(self.idtr.limit) {
            return Err(self.raise(Exception::with_code(vector::GP, event.gate_error())));
        }
        let entry = self.read_system(env, self.idtr.base.wrapping_add(at), 4)?;
        let mut stack = Stack::current(self);
        let (flags, cs) = (self.rflags(), self.segments[1].selector);
        let ip = self.offset_in_code(event.back);
        for value in [flags, u64::from(cs), ip] {
            stack.push(self, env, 2, value)?;
        }
        stack.commit(self);
        let flags = self.rflags() & !(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
        self.set_rflags(flags);
        let selector = (entry >> 16) as u16;
        let cs = Segment {
            selector,
            base: u64::from(selector) << 4,
            ..self.segments[1]
        };
        self.set_segment(SegmentRegister::Cs, cs);
        self.set_rip(entry & 0xffff);
        Ok(())
    }
}
