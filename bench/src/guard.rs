//! What is started from here ends when this program does, however it ends.
//!
//! Everything is in a process group that a shell leads. The shell waits for its input to end; this
//! program holds the other end of it, and the system lets go of that for a program that is killed.
//! The group ends then, and the shell with it.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use anyhow::anyhow;

/// Waits for the end of the input, and kills its own group.
const SCRIPT: &str = "read -r _; kill -KILL 0";

/// Lives as long as this program: nothing in a `static` is dropped.
static GUARD: LazyLock<io::Result<Child>> = LazyLock::new(|| {
    Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
});

/// Lets a program end with this one. Its start takes no longer for it.
pub(crate) fn watch_over(command: &mut Command) -> anyhow::Result<&mut Command> {
    let guard = GUARD.as_ref();
    let guard = guard.map_err(|error| anyhow!("start what ends the programs: {error}"))?;
    Ok(command.process_group(i32::try_from(guard.id())?))
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead as _, BufReader, Read as _, Write as _},
        sync::mpsc,
        thread,
        time::Duration,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes this test the program that is killed.
    const VICTIM: &str = "BENCH_GUARD_VICTIM";

    #[test]
    fn what_was_started_ends_with_this_program_when_it_is_killed() {
        if env::var_os(VICTIM).is_some() {
            let mut sleep = Command::new("sleep");
            sleep.arg("600").stdin(Stdio::null());
            let mut sleep = watch_over(&mut sleep).unwrap().spawn().unwrap();
            writeln!(io::stdout(), "\nstarted").unwrap();
            sleep.wait().unwrap();
            return;
        }
        let name = "guard::tests::what_was_started_ends_with_this_program_when_it_is_killed";
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // `sleep` has the same output, which ends only when both of them have.
        let mut output = BufReader::new(victim.stdout.take().unwrap());
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while line != "started\n" {
                line.clear();
                assert!(output.read_line(&mut line).unwrap() > 0, "it ended early");
            }
            say.send("started").unwrap();
            output.read_to_end(&mut Vec::new()).unwrap();
            say.send("ended").unwrap();
        });
        assert_eq!(said.recv_timeout(PATIENCE), Ok("started"));
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(said.recv_timeout(PATIENCE), Ok("ended"));
    }
}
