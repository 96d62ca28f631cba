//! Health, reflection and stopping.

use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::world::{DEADLINE, World, channel};

const NAME: &str = "iothubdm.v1.DeviceManagement";

#[tokio::test]
async fn it_is_ready_once_the_hub_is_reached_and_not_before() {
    let mut world = World::start().await;
    world.stop().await;
    let faults = world.emulator.faults();
    faults.pause();
    world.start_again().await;
    let mut health = HealthClient::new(channel(world.address).await);
    for service in ["", NAME] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
    let request = HealthCheckRequest {
        service: NAME.into(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap().status();
    assert_eq!(first, ServingStatus::NotServing);
    faults.resume();
    let next = timeout(DEADLINE, watch.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn it_is_not_ready_while_the_hub_is_gone_for_long_and_alive_all_the_time() {
    let world = World::with("hub_unreachable_limit = \"200ms\"").await;
    let mut health = HealthClient::new(channel(world.address).await);
    let mut ask = async |service: &str, wanted: ServingStatus| {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let seen = timeout(DEADLINE, async {
            loop {
                let status = watch.message().await.unwrap().unwrap().status();
                if status == wanted {
                    return;
                }
            }
        });
        assert!(seen.await.is_ok(), "{service} does not become {wanted:?}");
    };
    ask(NAME, ServingStatus::Serving).await;
    let faults = world.emulator.faults();
    faults.pause();
    ask(NAME, ServingStatus::NotServing).await;
    ask("", ServingStatus::NotServing).await;
    ask("liveness", ServingStatus::Serving).await;
    assert_eq!(world.metric("mgmt_service_ready"), 0.0);
    faults.resume();
    ask(NAME, ServingStatus::Serving).await;
    ask("", ServingStatus::Serving).await;
    assert_eq!(world.metric("mgmt_service_ready"), 1.0);
}

#[tokio::test]
async fn reflection_names_the_api() {
    let world = World::start().await;
    let mut client = ServerReflectionClient::new(channel(world.address).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let stream = futures_util::stream::iter([request]);
    let mut answers = client
        .server_reflection_info(stream)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("a list of services");
    };
    assert!(list.service.iter().any(|service| service.name == NAME));
}
