//! The hypercall table. LoPAR §14.5. A number goes to the first family that knows it; the rest get H_FUNCTION.

mod misc;
mod partition;
mod vcpu;

use viommu_cpu::ppc64::Cpu;
use viommu_devices::dma::Gpa;
use viommu_devices::spapr::hcall::{
    H_FUNCTION, H_GET_TCE, H_GET_TERM_CHAR, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_PUT_TERM_CHAR, H_RTAS,
    H_STUFF_TCE, Reply, Status, name,
};
use viommu_devices::spapr::vty;

use super::platform::Platform;
use super::rtas;

/// Arguments of a hypercall: r4 to r12.
pub type Args = [u64; 9];

/// A hypercall under way.
pub struct Call<'a> {
    /// All vCPUs; none of them runs.
    pub cpus: &'a mut [Cpu],
    /// Everything else.
    pub platform: &'a mut Platform,
    /// Number of the calling vCPU.
    pub caller: usize,
    /// Hypercall number, r3.
    pub nr: u64,
    /// r4 to r12.
    pub args: Args,
}

/// Answers a hypercall that no vCPU has to stop for: one about TCEs, or one that does not exist. `gprs` are r0 to r12 of the vCPU that runs.
/// False if it is another one, which [`dispatch`] answers.
pub fn at_once(platform: &mut Platform, gprs: &mut [u64; 13]) -> bool {
    let [_, _, _, nr, args @ ..] = gprs;
    let about_tces = matches!(
        *nr,
        H_PUT_TCE | H_GET_TCE | H_PUT_TCE_INDIRECT | H_STUFF_TCE
    );
    if !about_tces && name(*nr).is_some() {
        return false;
    }
    let began = platform.counters.hypercall_begins(*nr);
    let reply = match *nr {
        H_PUT_TCE_INDIRECT | H_STUFF_TCE if !platform.features.multi_tce => H_FUNCTION.into(),
        nr => {
            let reply = platform.iommu.hcall(nr, args, &platform.ram);
            reply.unwrap_or_else(|| not_implemented(nr).into())
        }
    };
    platform.counters.hypercall_ends(*nr, reply.status.0, began);
    *nr = reply.status.0 as u64;
    if let Some(tce) = reply.tce {
        args[0] = tce.0;
    }
    true
}

fn not_implemented(nr: u64) -> Status {
    log::debug!("hypercall {nr:#x} is not implemented");
    H_FUNCTION
}

/// Carries out the hypercall that vCPU `caller` has stopped at and writes the answer into its registers.
pub fn dispatch(cpus: &mut [Cpu], platform: &mut Platform, caller: usize) {
    let Some(cpu) = cpus.get(caller) else { return };
    let nr = cpu.gpr(3);
    let args = std::array::from_fn(|i| cpu.gpr(4 + i));
    let exits = &mut platform.counters.exits;
    if nr == H_RTAS {
        exits.rtas += 1;
    } else {
        exits.hypercalls += 1;
    }
    let began = platform.counters.hypercall_begins(nr);
    let reply = Call {
        cpus,
        platform,
        caller,
        nr,
        args,
    }
    .answer();
    platform.counters.hypercall_ends(nr, reply.status.0, began);
    let Some(cpu) = cpus.get_mut(caller) else {
        return;
    };
    cpu.set_gpr(3, reply.status.0 as u64);
    for (i, &value) in reply.values.iter().take(reply.count).enumerate() {
        cpu.set_gpr(4 + i, value);
    }
}

impl Call<'_> {
    fn answer(&mut self) -> Reply {
        if let Some(reply) = self.devices() {
            return reply;
        }
        let families = [vcpu::answer, partition::answer, misc::answer];
        families
            .iter()
            .find_map(|family| family(self))
            .unwrap_or_else(|| not_implemented(self.nr).into())
    }

    /// Hypercalls that belong to one device each.
    fn devices(&mut self) -> Option<Reply> {
        let p = &mut *self.platform;
        match self.nr {
            H_RTAS => Some(rtas::hypercall(self.cpus, p, self.caller, Gpa(self.args[0])).into()),
            H_PUT_TERM_CHAR | H_GET_TERM_CHAR => {
                let reply = p
                    .vty
                    .hcall(self.nr, &self.args)
                    .unwrap_or_else(|| vty::no_such_terminal(self.nr));
                p.drain_console();
                Some(reply)
            }
            _ => p.xics.hcall(self.nr, self.caller as u32, &self.args),
        }
    }
}
