use tokio::time::timeout;

use super::*;

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing must happen to believe that nothing does.
const QUIET: Duration = Duration::from_millis(200);

/// A link between a dialler and a friend that echoes nothing: both ends are the test's.
async fn connected() -> (Link, TcpStream, TcpStream) {
    let friend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = friend.local_addr().unwrap();
    let (mut paths, mut dial) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        dial.push(listener.local_addr().unwrap());
        paths.push(Path { listener, target });
    }
    let link = Link::open(paths.try_into().unwrap());
    let dialler = TcpStream::connect(dial[0]).await.unwrap();
    let (accepted, _) = timeout(PATIENCE, friend.accept()).await.unwrap().unwrap();
    (link, dialler, accepted)
}

async fn arrives(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    let mut got = vec![0; bytes.len()];
    timeout(PATIENCE, to.read_exact(&mut got)).await.expect("it arrives").unwrap();
    assert_eq!(got, bytes);
}

async fn stays_silent(socket: &mut TcpStream) {
    let read = timeout(QUIET, socket.read(&mut [0])).await;
    assert!(read.is_err(), "nothing should arrive, got {read:?}");
}

async fn is_reset(socket: &mut TcpStream) {
    let read = timeout(PATIENCE, socket.read(&mut [0; 64])).await.expect("it ends");
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_open_link_passes_bytes_both_ways_and_counts_them() {
    let (link, mut first, mut second) = connected().await;
    arrives(&mut first, &mut second, b"hello").await;
    arrives(&mut second, &mut first, b"you too").await;
    assert_eq!(link.counts(), Counts { passed_bytes: 12, ..Counts::default() });
}

#[tokio::test]
async fn an_end_of_one_direction_is_passed_on() {
    let (_link, mut first, mut second) = connected().await;
    first.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, second.read(&mut [0])).await.unwrap().unwrap(), 0);
    arrives(&mut second, &mut first, b"still").await;
}

#[tokio::test]
async fn a_reset_reaches_both_ends() {
    let (link, mut first, mut second) = connected().await;
    arrives(&mut first, &mut second, b"x").await;
    link.set(Condition::Reset);
    is_reset(&mut first).await;
    is_reset(&mut second).await;
    assert_eq!(link.counts().resets, 1);
}

#[tokio::test]
async fn a_silent_link_loses_bytes_and_what_lost_them_is_reset_when_it_heals() {
    let (link, mut first, mut second) = connected().await;
    link.set(Condition::Silent);
    first.write_all(b"lost").await.unwrap();
    stays_silent(&mut second).await;
    assert_eq!(link.counts().dropped_bytes, 4);
    link.set(Condition::Open);
    is_reset(&mut first).await;
    is_reset(&mut second).await;
}

#[tokio::test]
async fn a_stalled_link_loses_nothing() {
    let (link, mut first, mut second) = connected().await;
    link.set(Condition::Stalled);
    first.write_all(b"later").await.unwrap();
    stays_silent(&mut second).await;
    assert_eq!(link.counts().held, 1);
    link.set(Condition::Open);
    let mut got = [0; 5];
    timeout(PATIENCE, second.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"later");
}

#[tokio::test]
async fn a_one_way_link_still_carries_the_other_way() {
    let (link, mut first, mut second) = connected().await;
    link.set(Condition::OneWay);
    first.write_all(b"held").await.unwrap();
    arrives(&mut second, &mut first, b"passes").await;
    stays_silent(&mut second).await;
}

#[tokio::test]
async fn a_slow_link_keeps_to_its_rate() {
    let (link, mut first, mut second) = connected().await;
    link.set(Condition::Slow(100));
    let started = tokio::time::Instant::now();
    arrives(&mut first, &mut second, &[7; 50]).await;
    let took = started.elapsed();
    // 50 bytes are five ticks of ten bytes; the first of them waits for its tick as well.
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert_eq!(link.counts().slowed_bytes, 50);
}

#[tokio::test]
async fn the_link_carries_so_many_connections_and_resets_the_next() {
    let friend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = friend.local_addr().unwrap();
    let (mut paths, mut dial) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        dial.push(listener.local_addr().unwrap());
        paths.push(Path { listener, target });
    }
    let link = Link::open(paths.try_into().unwrap());
    let mut kept = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        kept.push(TcpStream::connect(dial[0]).await.unwrap());
        kept.push(friend.accept().await.unwrap().0);
    }
    let mut one_more = TcpStream::connect(dial[0]).await.unwrap();
    is_reset(&mut one_more).await;
    assert_eq!(link.counts().resets, 1);
}
