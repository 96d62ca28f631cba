//! `dmctl devices`: one device in detail, or all of them.

use iothubdm_client::Client;
use iothubdm_proto::v1::ListDevicesRequest;

use super::pages;
use crate::{
    cli::Devices,
    exit::Exit,
    name::DeviceName,
    problem::Problem,
    terminal::Terminal,
    view::{json::DeviceLine, tables},
};

/// Shows one device, or lists them.
pub(crate) async fn run(
    client: &Client,
    command: &Devices,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    match &command.id {
        Some(device) => one(client, device, terminal).await,
        None => all(client, command, terminal).await,
    }
}

async fn one(
    client: &Client,
    device: &DeviceName,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let device = client.get_device(device.to_string()).await?;
    if terminal.json {
        DeviceLine::from(&device).write(&mut *terminal.out)?;
    } else {
        terminal.lines(&tables::device(&device))?;
    }
    Ok(Exit::Success)
}

async fn all(client: &Client, command: &Devices, terminal: &mut Terminal) -> Result<Exit, Problem> {
    let read = async |page_token| {
        let request = ListDevicesRequest {
            page_size: 0,
            page_token,
            filter: command.filter.clone(),
        };
        let page = client.list_devices(request).await?;
        Ok((page.devices, page.next_page_token))
    };
    pages::show(
        terminal,
        command.all_pages,
        read,
        |device, out| DeviceLine::from(device).write(out),
        tables::devices,
    )
    .await
}
