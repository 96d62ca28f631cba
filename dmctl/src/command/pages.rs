//! What the lists share: page after page, a line each for programs, one table for people.

use std::io::{self, Write};

use iothubdm_client::Error;

use crate::{exit::Exit, name::DeviceName, problem::Problem, terminal::Terminal};

/// What a list of this device, or of all, is asked of.
pub(super) fn parent(device: Option<&DeviceName>) -> String {
    device.map_or_else(|| "devices/-".to_owned(), DeviceName::to_string)
}

/// Shows the first page, or all. `read` asks for the page of a token, and gives what is on it and the
/// next one's token.
pub(super) async fn show<T>(
    terminal: &mut Terminal,
    all: bool,
    read: impl AsyncFn(String) -> Result<(Vec<T>, String), Error>,
    line: impl Fn(&T, &mut dyn Write) -> io::Result<()>,
    table: impl Fn(&[T]) -> Vec<String>,
) -> Result<Exit, Problem> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = read(token).await?;
        if terminal.json {
            for item in &page {
                line(item, &mut *terminal.out)?;
            }
        } else {
            items.extend(page);
        }
        token = next;
        if token.is_empty() || !all {
            break;
        }
    }
    if !terminal.json {
        terminal.lines(&table(&items))?;
    }
    if !token.is_empty() {
        terminal.remark("there are more; --all-pages shows them")?;
    }
    Ok(Exit::Success)
}
