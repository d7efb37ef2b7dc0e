//! Long mode: 16-byte gates, interrupt stack table (Intel SDM vol. 3 §6.14).

use super::*;
use crate::x86_64::contexts::Rights;

impl Cpu {
    pub(super) fn enter_long(&mut self, env: &mut Env<'_>, event: Event) -> Result<(), Fault> {
        let ext = event.ext();
        let gate = self.gate(env, event, 16)?;
        if !matches!(gate.kind(), 14 | 15) {
            return Err(self.raise(Exception::with_code(vector::GP, event.gate_error())));
        }
        self.check_gate(gate, event)?;
        let (cs, cpl) = self.handler_code(env, gate.selector(), ext, true)?;
        let inner = cpl < self.cpl();
        let sp = if gate.ist() != 0 {
            self.read_tss(env, 28 + 8 * gate.ist(), 8, ext)?
        } else if inner {
            self.read_tss(env, 4 + 8 * u64::from(cpl), 8, ext)?
        } else {
            self.core.regs[R_RSP as usize]
        };
        let rights = match cpl {
            3 => Rights::User,
            _ => Rights::Supervisor,
        };
        let mut stack = Stack::new(Segment::default(), sp & !15, true, rights).with_error(ext);
        if !self.is_canonical(gate.offset()) {
            return Err(self.raise(Exception::with_code(vector::GP, ext)));
        }
        let frame = [
            u64::from(self.segments[2].selector),
            self.core.regs[R_RSP as usize],
            self.saved_flags(event),
            u64::from(self.segments[1].selector),
            self.offset_in_code(event.back),
        ];
        for value in frame {
            stack.push(self, env, 8, value)?;
        }
        if let Some(error) = event.error {
            stack.push(self, env, 8, u64::from(error))?;
        }
        stack.commit(self);
        if inner {
            let ss = Segment {
                selector: u16::from(cpl),
                attributes: u16::from(cpl) << 5,
                ..Segment::default()
            };
            self.segments[2] = ss;
        }
        self.enter_flags(gate.kind() == 14);
        self.set_segment(SegmentRegister::Cs, cs);
        self.update_contexts();
        self.set_rip(gate.offset());
        Ok(())
    }
}
