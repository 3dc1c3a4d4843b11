//! How our own servers here serve: listeners that deal connections to workers, each a thread with a runtime of its own.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, thread};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use crate::Failure;

/// Accepts at every address of `listen` for ever and deals the connections to `workers` threads in turn. `make` is called once on each of
/// them, for what its connections share; `serve` for each connection, on the thread that it was dealt to.
pub(crate) fn dealt<S, F>(
    listen: &[SocketAddr],
    workers: usize,
    make: impl Fn() -> S + Clone + Send + 'static,
    serve: impl Fn(Rc<S>, TcpStream) -> F + Clone + Send + 'static,
) -> Result<(), Failure>
where
    S: 'static,
    F: Future<Output = ()> + 'static,
{
    let hands: Vec<_> = (0..workers.max(1)).map(|_| worker(make.clone(), serve.clone())).collect();
    let hands = Rc::new(RefCell::new(hands.into_iter().cycle()));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut accepting = JoinSet::new();
        for address in listen {
            accepting.spawn_local(accept(TcpListener::bind(address).await?, Rc::clone(&hands)));
        }
        // None of them ends but by a failure.
        accepting.join_next().await.ok_or("nowhere to listen")??
    })
}

type Hand = mpsc::UnboundedSender<std::net::TcpStream>;

async fn accept(
    listener: TcpListener,
    hands: Rc<RefCell<impl Iterator<Item = Hand>>>,
) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let hand = hands.borrow_mut().next().ok_or("there are no workers")?;
        hand.send(stream.into_std()?)?;
    }
}

fn worker<S, F>(
    make: impl Fn() -> S + Send + 'static,
    serve: impl Fn(Rc<S>, TcpStream) -> F + Send + 'static,
) -> Hand
where
    S: 'static,
    F: Future<Output = ()> + 'static,
{
    let (hand, mut dealt) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        LocalSet::new().block_on(&runtime, async {
            let shared = Rc::new(make());
            while let Some(stream) = dealt.recv().await {
                let stream = TcpStream::from_std(stream).expect("it was a tokio stream before");
                tokio::task::spawn_local(serve(Rc::clone(&shared), stream));
            }
        });
    });
    hand
}

/// Runs what hyper spawns for HTTP/2 on the thread of the connection.
#[derive(Clone, Copy)]
pub(crate) struct OnThisThread;

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
