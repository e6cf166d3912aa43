//! The program at a pod's network namespace. A program of type `sk_lookup` cannot ask in which namespace it runs, so each
//! namespace has one of its own, with the namespace's cookie among its instructions. It does two things: it writes the
//! cookie to where `weir_sk_lookup` (`ebpf/src/sk_lookup.rs`) reads it, and it calls that program, which serves all pods.
//!
//! A lookup in a softirq may interrupt that of a process between the two. The latter, a question of `sock_diag`(7), then
//! reads another pod's cookie; no packet is affected.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::kernel::{self, Instruction};
use super::pod::NetnsCookie;

/// As the kernel lists the program, in at most 15 bytes.
pub(super) const NAME: &str = "weir_netns";

/// Operation codes and helpers of linux/bpf.h.
const LOAD_64_BIT_IMMEDIATE: u8 = 0x18;
const STORE_32_BIT_IMMEDIATE: u8 = 0x62;
const STORE_64_BIT_REGISTER: u8 = 0x7b;
const COPY_REGISTER: u8 = 0xbf;
const COPY_IMMEDIATE: u8 = 0xb7;
const ADD_IMMEDIATE: u8 = 0x07;
const JUMP_IF_EQUAL: u8 = 0x15;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Makes a 64-bit immediate the descriptor of a map (`BPF_PSEUDO_MAP_FD`).
const MAP_DESCRIPTOR: u8 = 1;
const MAP_LOOKUP_ELEM: i32 = 1;
const TAIL_CALL: i32 = 12;
/// `SK_DROP`: what becomes of a SYN while `weir_sk_lookup` is not there to be called.
const DROP: i32 = 0;
const STACK: u8 = 10;

/// Loads the program for a namespace.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn load(
    cookie: NetnsCookie,
    lookup_netns: BorrowedFd<'_>,
    sk_lookup: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    kernel::load_sk_lookup(NAME, &instructions(cookie, lookup_netns.as_raw_fd(), sk_lookup.as_raw_fd()))
}

/// `lookup_netns[0] = cookie; tail_call(ctx, sk_lookup, 0); return DROP`.
fn instructions(cookie: NetnsCookie, lookup_netns: i32, sk_lookup: i32) -> Vec<Instruction> {
    let [low, high] = [cookie.0 as u32, (cookie.0 >> 32) as u32].map(u32::cast_signed);
    [
        vec![
            // The context outlives the first call in a register that calls keep.
            instruction(COPY_REGISTER, 6, 1, 0, 0),
            instruction(STORE_32_BIT_IMMEDIATE, STACK, 0, -4, 0),
            instruction(COPY_REGISTER, 2, STACK, 0, 0),
            instruction(ADD_IMMEDIATE, 2, 0, 0, -4),
        ],
        wide(1, MAP_DESCRIPTOR, lookup_netns, 0),
        vec![instruction(CALL, 0, 0, 0, MAP_LOOKUP_ELEM), instruction(JUMP_IF_EQUAL, 0, 0, 8, 0)],
        wide(1, 0, low, high),
        vec![instruction(STORE_64_BIT_REGISTER, 0, 1, 0, 0), instruction(COPY_REGISTER, 1, 6, 0, 0)],
        wide(2, MAP_DESCRIPTOR, sk_lookup, 0),
        vec![
            instruction(COPY_IMMEDIATE, 3, 0, 0, 0),
            instruction(CALL, 0, 0, 0, TAIL_CALL),
            instruction(COPY_IMMEDIATE, 0, 0, 0, DROP),
            instruction(EXIT, 0, 0, 0, 0),
        ],
    ]
    .concat()
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// The two instructions that load 64 bits.
fn wide(destination: u8, kind: u8, low: i32, high: i32) -> Vec<Instruction> {
    vec![instruction(LOAD_64_BIT_IMMEDIATE, destination, kind, 0, low), instruction(0, 0, 0, 0, high)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_among_the_instructions_and_a_missing_place_for_it_drops() {
        let program = instructions(NetnsCookie(0x1_8000_0002), 7, 8);
        let immediates: Vec<i32> = program.iter().map(|instruction| instruction.immediate).collect();
        assert_eq!(immediates[8..10], [0x8000_0002_u32.cast_signed(), 1], "low half, high half");
        let jump = program.iter().position(|instruction| instruction.code == JUMP_IF_EQUAL).expect("there is one");
        let target = jump + 1 + usize::try_from(program[jump].offset).expect("forwards");
        assert_eq!(program[target], instruction(COPY_IMMEDIATE, 0, 0, 0, DROP));
        assert_eq!(target + 2, program.len());
    }
}
