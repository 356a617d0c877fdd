//! A process that sends back what it is sent: the smallest useful node.
//!
//! ```console
//! $ cargo run --example echo
//! $ iex --sname me --cookie example
//! iex> send({:echo, :"echo@HOST"}, {self(), "hello"})
//! iex> flush()
//! "hello"
//! ```

use gusset::{Cookie, Node, Pid, Term};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let name = std::env::args().nth(1).unwrap_or_else(|| format!("echo@{host}"));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);

    let node = Node::builder(&name).cookie(Cookie::new(cookie)?).epmd(gusset::EpmdMode::Auto, port).start().await?;
    let mut echo = node.register("echo")?;
    println!("{name} is up; send it {{pid, anything}}: send({{:echo, :\"{name}\"}}, {{self(), \"hello\"}})");

    loop {
        let message = echo.recv().await?;
        match message.decode::<(Pid, Term)>() {
            Ok((from, what)) => {
                if let Err(error) = echo.send(&from, &what).await {
                    eprintln!("no way back to {from}: {error}");
                }
            }
            Err(error) => eprintln!("not {{pid, anything}}: {error}"),
        }
    }
}
