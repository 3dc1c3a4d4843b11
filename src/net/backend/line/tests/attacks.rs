//! An MCP server that lies or dawdles, and a client that would have two requests made of one.

use http::Method;

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
        std::future::pending::<()>().await;
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

#[tokio::test]
async fn attack_a_connection_that_is_over_is_seen_by_a_task_whose_turn_is_over() {
    let (mut near, far) = line(64);
    drop(far);
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::poll_proceed(&mut unwoken()).map(|turn| turn.made_progress()).is_ready();
    }
    assert!(near.is_over());
}

#[tokio::test]
async fn attack_an_answer_before_the_request_is_out() {
    let (mut near, mut far) = line(64);
    let long: &'static str = format!("{}z", "y".repeat(COPIED * 2)).leak();
    let asking = async {
        send(&mut near, full(long)).await.unwrap();
        assert_eq!(all(&mut near).await.unwrap(), "no");
    };
    let answering = async {
        let mut read = vec![0; 40];
        far.read_exact(&mut read).await.unwrap();
        far.write_all(OK.as_bytes()).await.unwrap();
        // Perhaps this is read as the rest of a body, perhaps as the next request.
        while !read.ends_with(b"z") {
            far.read_buf(&mut read).await.unwrap();
        }
        far.write_all(b"no").await.unwrap();
    };
    tokio::join!(asking, answering);
    assert!(near.is_sent() && !near.is_free());
}

#[tokio::test]
async fn attack_a_body_where_a_server_does_not_look_for_one() {
    for (method, body, is_kept) in [
        (Method::GET, full("GET /other HTTP/1.1\r\nhost: a\r\n\r\n"), false),
        (Method::DELETE, pieces(&["GET /other HTTP/1.1\r\n", "host: a\r\n\r\n"], None), false),
        (Method::GET, full(""), true),
        (Method::DELETE, full(""), true),
    ] {
        let (mut near, mut far) = line(1 << 16);
        let mut request = Request::builder().method(method).body(body).unwrap();
        let (opening, ended) =
            (head::opening("/mcp", &HeaderValue::from_static("a")), CancellationToken::new());
        let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
        let (answer, request) = tokio::join!(near.send(&mut request, &opening, wait), async {
            let request = asked(&mut far, "\r\n\r\n").await;
            far.write_all(OK.as_bytes()).await.unwrap();
            far.write_all(b"no").await.unwrap();
            request
        });
        answer.unwrap();
        assert_eq!(all(&mut near).await.unwrap(), "no");
        assert_eq!(near.is_free(), is_kept, "{request}");
        // Whoever is told that this is the last request takes nothing behind it for another one.
        assert_eq!(request.contains("connection: close\r\n"), !is_kept, "{request}");
    }
}
