//! `weir-demo`: Weir at work on this machine, in plain words and figures. Everything it says it has just seen: nothing
//! here is a text that would be printed anyway.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::http_mesh::HttpMesh;
use weir_tests::{run, wait};

mod http_story;
mod play;
mod policy_acts;
mod shop;
mod story;
mod telling;

/// Part of the names of everything a demo makes.
const PURPOSE: &str = "demo";

#[derive(Debug, Parser)]
#[command(about = "Two nodes, a few pods, real traffic: captured, encrypted, authorized, routed, counted")]
struct Arguments {
    /// What is shown.
    #[arg(value_enum, default_value = "mesh")]
    story: Story,
    /// Leave everything up at the end, and print how to play with it.
    #[arg(long)]
    keep: bool,
    /// Take down a demo that was left up.
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Story {
    /// Capture, encryption, identity, policy, metrics.
    Mesh,
    /// What routes do with HTTP.
    Http,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.down {
        take_down()?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and kernel programs need root: run it by `cargo xtask demo`");
    run::take_down_on_signal()?;
    match arguments.story {
        Story::Mesh => {
            let shop = shop::Shop::open(PURPOSE)?;
            let weir = story::tell(&shop)?;
            if arguments.keep {
                play::invite(&shop, &weir)?;
                until_a_signal();
            }
            story::close(shop, weir)?;
        }
        Story::Http => {
            let mesh = HttpMesh::start(PURPOSE)?;
            http_story::tell(&mesh).with_context(|| mesh.logs())?;
            if arguments.keep {
                play::invite_to_http(&mesh)?;
                until_a_signal();
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A signal takes everything down and ends the process.
fn until_a_signal() -> ! {
    loop {
        std::thread::park();
    }
}

/// Ends demos that were left up, and clears what killed ones left.
fn take_down() -> Result<()> {
    let living = run::living(PURPOSE)?;
    for id in &living {
        kill(Pid::from_raw(*id), Signal::SIGTERM).with_context(|| format!("ending the demo of process {id}"))?;
        wait::until("the demo ends", Duration::from_secs(20), || {
            ensure!(kill(Pid::from_raw(*id), None).is_err(), "process {id} is still there");
            Ok(())
        })?;
    }
    let left = run::take_down_leftovers()?;
    println!("demos ended: {}; leftovers of killed runs cleared: {}", living.len(), left.len());
    Ok(())
}
