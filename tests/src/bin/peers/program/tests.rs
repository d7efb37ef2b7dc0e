use super::*;
use viommu::pseries::{Host, HostInput, Machine, MachineConfig, host::Moment};

/// Collects the console until the last line.
#[derive(Default)]
struct Console(String);

impl Host for Console {
    fn poll(&mut self, moment: Moment<'_>, _room: usize) -> HostInput {
        self.0 += &String::from_utf8_lossy(moment.console);
        HostInput {
            quit: self.0.contains(DONE),
            ..HostInput::default()
        }
    }
}

fn run(engine: viommu_cpu::engine::Engine) -> (String, Vec<u64>) {
    let mut pieces = PIECES;
    for piece in &mut pieces {
        piece.times = piece.times.min(300);
        if let Work::Loop(blocks, _) = &mut piece.work {
            *blocks = (*blocks).min(100);
        }
    }
    let kernel = kernel_of(&pieces).unwrap();
    let config = MachineConfig {
        memory: 64 << 20,
        kernel: Some(kernel.elf),
        max_instructions: Some(500_000_000),
        engine,
        ..MachineConfig::default()
    };
    let mut console = Console::default();
    Machine::new(config).unwrap().run(&mut console);
    (console.0, kernel.instructions)
}

#[test]
fn the_kernel_runs_every_piece_alike_on_both_tiers() {
    let (log, instructions) = run(viommu_cpu::engine::Engine::Interpreter);
    for (piece, instructions) in PIECES.iter().zip(instructions) {
        assert!(log.contains(&begin(piece.name)), "{}\n{log}", piece.name);
        let result = log.split(&end(piece.name)).nth(1).unwrap().get(..16);
        let is_loop = matches!(piece.work, Work::Loop(..));
        assert_eq!(result != Some("0000000000000000"), is_loop, "{log}");
        assert_eq!(instructions != 0, is_loop);
    }
    assert!(log.contains(DONE));
    assert_eq!(run(viommu_cpu::engine::Engine::Compiled).0, log);
}

#[test]
fn the_whole_kernel_is_assembled() {
    let kernel = kernel().unwrap();
    for (piece, count) in PIECES.iter().zip(kernel.instructions) {
        if let Work::Loop(blocks, _) = piece.work {
            let per_block = count / blocks as u64;
            assert!((10..=14).contains(&per_block), "{count} of {blocks}");
        }
    }
}
