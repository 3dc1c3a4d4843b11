//! An MCP server that lies or dawdles, and a client that would have two requests made of one.

use super::*;

#[tokio::test]
async fn attack_interim_answers_without_end() {
    let (mut near, mut far) = line(1 << 16);
    let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "l".repeat(3000));
    let asking = send(&mut near, full("{}"));
    let answering = async {
        asked(&mut far, "{}").await;
        // Each read has only a few of them in it, and whoever always has something to read never looks at a clock.
        for _ in 0..40 {
            far.write_all(hint.as_bytes()).await.unwrap();
        }
        far.write_all(OK.as_bytes()).await.unwrap();
        std::future::pending().await
    };
    let answer = tokio::select! { answer = asking => answer, () = answering => unreachable!() };
    assert_eq!(answer.unwrap_err(), BackendError::Broken);
    assert!(!near.is_free());
}

#[tokio::test(start_paused = true)]
async fn attack_interim_answers_now_and_then() {
    let (mut near, mut far) = line(1 << 16);
    let begun = tokio::time::Instant::now();
    let asking = send(&mut near, full("{}"));
    let answering = async {
        asked(&mut far, "{}").await;
        for byte in "HTTP/1.1 100 Continue\r\nx: yyyyyyyyyyyyyyyy\r\n\r\n".bytes().cycle() {
            far.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answer = tokio::select! { answer = asking => answer, () = answering => unreachable!() };
    assert_eq!(answer.unwrap_err(), BackendError::TimedOut);
    assert!(begun.elapsed() <= Duration::from_millis(5400), "{:?}", begun.elapsed());
}
