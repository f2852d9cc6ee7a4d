//! The client against a scripted cluster: several servers, brokers that come, go, lie and are silent.

use std::collections::BTreeMap;

use ingest::kafka::requests::OffsetSpec;

use super::*;
use crate::aggregator::tests::broker::Cluster;

fn settings(bootstrap: Vec<Address>, operation_timeout_ms: u64) -> ClientSettings {
    ClientSettings {
        bootstrap,
        client_id: "test".into(),
        operation_timeout_ms,
        read_committed: true,
        metadata_interval_ms: 1_000,
        spoof: BTreeMap::new(),
    }
}

fn addresses(cluster: &Cluster) -> Vec<Address> {
    let ports = cluster.state().ports.clone();
    ports
        .into_iter()
        .map(|port| ("127.0.0.1".to_owned(), port))
        .collect()
}

fn there(answer: Result<TopicAnswer, ClientFault>) -> TopicState {
    match answer.unwrap() {
        TopicAnswer::There(state) => state,
        TopicAnswer::Missing => panic!("missing"),
    }
}

#[tokio::test]
async fn the_first_server_that_answers_is_enough() {
    let cluster = Cluster::start(2, 2).await;
    let dead = Cluster::start(1, 1).await;
    let mut servers = addresses(&dead);
    drop(dead);
    servers.extend(addresses(&cluster));
    let client = Client::new(settings(servers, 5_000));
    let state = there(client.topic("orders").await);
    let leaders: Vec<i32> = state
        .partitions
        .values()
        .flatten()
        .map(|l| l.broker)
        .collect();
    assert_eq!(leaders, [1, 2]);
    cluster.log(1, |log| log.messages = vec!["x".into(); 9]);
    let latest = client
        .offsets("orders", &state, &[0, 1], OffsetSpec::Latest)
        .await
        .unwrap();
    assert_eq!(latest, BTreeMap::from([(0, Offset(0)), (1, Offset(9))]));
    let fault = client
        .offsets("orders", &state, &[7], OffsetSpec::Latest)
        .await
        .unwrap_err();
    assert_eq!(fault.to_string(), "partition 7 has no leader now");
    assert_eq!(client.topic("other").await.unwrap(), TopicAnswer::Missing);
}

#[tokio::test]
async fn a_connection_that_the_broker_closed_is_made_again() {
    let cluster = Cluster::start(1, 1).await;
    let client = Client::new(settings(addresses(&cluster), 5_000));
    there(client.topic("orders").await);
    cluster.state().close_after = true;
    there(client.topic("orders").await);
    cluster.state().close_after = false;
    there(client.topic("orders").await);
}

#[tokio::test]
async fn garbage_is_an_error_and_never_more() {
    let cluster = Cluster::start(1, 1).await;
    for garbage in [
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff; 4],
        vec![0, 0, 0, 4, 0, 0, 0, 99],
        vec![0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 0, 0xff],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let client = Client::new(settings(addresses(&cluster), 5_000));
        there(client.topic("orders").await);
        cluster.state().garbage = Some(garbage.clone());
        let fault = client.topic("orders").await.expect_err("garbage");
        assert!(
            matches!(fault, ClientFault::Unreachable(_)),
            "{garbage:?}: {fault}"
        );
        there(client.topic("orders").await);
    }
}

#[tokio::test]
async fn a_silent_broker_is_given_up_in_time() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().silent = true;
    let client = Client::new(settings(addresses(&cluster), 40));
    let fault = client.topic("orders").await.unwrap_err().to_string();
    assert!(
        fault.ends_with("waiting for an answer: no answer in 40 ms"),
        "{fault}"
    );
}

#[tokio::test]
async fn an_advertised_address_may_be_spoofed() {
    let cluster = Cluster::start(1, 1).await;
    let real = addresses(&cluster).remove(0);
    let mut settings = settings(vec![real.clone()], 5_000);
    settings.spoof.insert(real, ("elsewhere".into(), 7));
    let client = Client::new(settings);
    let state = there(client.topic("orders").await);
    let leader = state.partitions[&0].clone().unwrap();
    assert_eq!((leader.host.as_str(), leader.port), ("elsewhere", 7));
}

#[tokio::test]
async fn group_offsets_come_back_with_their_metadata() {
    let cluster = Cluster::start(2, 1).await;
    let client = Client::new(settings(addresses(&cluster), 5_000));
    let offsets = [(0, Offset(5), 1, "pinleaf lineage 1".to_owned())];
    client.publish("g", "orders", &offsets).await.unwrap();
    let read = client.published("g", "orders", &[0]).await.unwrap();
    assert_eq!(
        (read[0].offset, read[0].metadata.as_str()),
        (Some(Offset(5)), "pinleaf lineage 1")
    );
    assert_eq!(cluster.state().asked[&10], 1, "the coordinator is kept");
    let end = there(client.topic("orders").await).partitions[&0]
        .clone()
        .unwrap();
    assert_eq!(client.epoch_end("orders", 0, &end, 0).await.unwrap(), 77);
}

#[tokio::test]
async fn an_offset_that_is_none_is_not_taken_for_the_logs_first() {
    let cluster = Cluster::start(1, 1).await;
    let client = Client::new(settings(addresses(&cluster), 5_000));
    let state = there(client.topic("orders").await);
    cluster.log(0, |log| log.start = -1);
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let fault = client.offsets("orders", &state, &[0], spec).await;
        assert_eq!(
            fault.unwrap_err().to_string(),
            "ListOffsets: the broker answers -1 for partition 0, which is no offset"
        );
    }
}
