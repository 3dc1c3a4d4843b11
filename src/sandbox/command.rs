//! The `sandbox` command: what may be typed behind it, and what it prints.
//!
//! Without `--replay-attack` it runs everything until it is told to stop, and prints what a person needs who wants to try
//! it: the URL for a client, lines to paste, the address of the attack page. With it, the attack is played against both
//! proxies without a browser, the two sequences are printed, and the exit status says whether everything went as it
//! must. Called by the command line only, which also sets up the log; prints to the writer that it is given.

use std::{error::Error, io::Write};

use super::{
    attack_page::AttackPage,
    replay::{Target, attack, judge},
    stage::{Actors, Port, Ports, Stage},
    third_party,
};

/// Where the ports begin that are easy to remember. Each actor takes the first free one from its own on.
const GATEWAY: u16 = 8787;
const THIRD_PARTY: u16 = 8788;
const MCP_SERVER: u16 = 8789;
const NAIVE_PROXY: u16 = 8790;
const ATTACK_PAGE: u16 = 8791;
const ATTACKER: u16 = 8792;
const ADMIN: u16 = 8793;

/// What may be typed behind `sandbox`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    after_help = "Ports that are not given are the first free ones from 8787 on. 0 means any free port. Nothing listens \
                  outside loopback, nothing is kept: the store is in a temporary folder that is removed at the end.\n\n\
                  Exit status of --replay-attack: 0 only if the naive proxy leaked the code and mcp-deputy did not."
)]
pub struct Options {
    /// Port of the gateway: what clients are given
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Port of the simulated third party
    #[arg(long, value_name = "PORT")]
    pub third_party_port: Option<u16>,
    /// Port of the sample MCP server
    #[arg(long, value_name = "PORT")]
    pub mcp_server_port: Option<u16>,
    /// Port of the naive proxy, which is vulnerable on purpose
    #[arg(long, value_name = "PORT")]
    pub naive_port: Option<u16>,
    /// Port of the attack page
    #[arg(long, value_name = "PORT")]
    pub attack_port: Option<u16>,
    /// Port of the gateway's admin listener (health and readiness)
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Play the attack against both proxies without a browser, print who sent what to whom, and end
    #[arg(long)]
    pub replay_attack: bool,
    /// Log what happens, not only what goes wrong (`MCP_DEPUTY_LOG` says more exactly what)
    #[arg(long)]
    pub verbose: bool,
}

impl Options {
    fn ports(&self) -> Ports {
        Ports {
            gateway: choose(self.port, GATEWAY),
            admin: choose(self.admin_port, ADMIN),
            third_party: choose(self.third_party_port, THIRD_PARTY),
            mcp_server: choose(self.mcp_server_port, MCP_SERVER),
            naive_proxy: choose(self.naive_port, NAIVE_PROXY),
        }
    }
}

fn choose(given: Option<u16>, memorable: u16) -> Port {
    given.map_or(Port::From(memorable), Port::Exactly)
}

/// Does what `options` say; everything that is meant for people goes to `out`. `stop` is done when the person wants to
/// end it. Returns whether all is well.
pub async fn run(
    options: &Options,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let stage = Stage::set(&options.ports()).await?;
    if options.replay_attack {
        let replayed = tokio::select! {
            replayed = replay(&stage.actors, out) => replayed,
            () = stop => Ok(false),
        };
        // However it went: the store goes when nobody writes into it any more.
        stage.leave().await?;
        return replayed;
    }
    if let Err(error) = welcome(&stage, options, out).await {
        stage.leave().await?;
        return Err(error);
    }
    stage.play(stop).await?;
    writeln!(out, "\nEverything is stopped and the store is removed.")?;
    Ok(true)
}

/// Opens the attack page and prints what a person needs.
async fn welcome(
    stage: &Stage,
    options: &Options,
    out: &mut (dyn Write + Send),
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let port = choose(options.attack_port, ATTACK_PAGE);
    let page = AttackPage::open(stage, port, Port::From(ATTACKER)).await?;
    out.write_all(greeting(&stage.actors, page.origin()).as_bytes())?;
    Ok(out.flush()?)
}

/// Plays the attack through both proxies and prints the sequences and the verdicts. Returns whether every claim holds.
async fn replay(actors: &Actors, out: &mut (dyn Write + Send)) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let naive = attack(actors, Target::Naive).await?;
    writeln!(out, "1. THE ATTACK THROUGH A NAIVE PROXY\n{}", naive.story)?;
    let deputy = attack(actors, Target::Deputy).await?;
    writeln!(out, "2. THE SAME ATTACK THROUGH MCP-DEPUTY\n{}", deputy.story)?;
    let verdicts = judge(&naive.facts, &deputy.facts);
    writeln!(out, "WHAT CAME OF IT\n")?;
    for verdict in &verdicts {
        writeln!(out, "  {verdict}")?;
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.holds).count();
    if failed > 0 {
        writeln!(out, "\n{failed} of {} claims failed.", verdicts.len())?;
    }
    out.flush()?;
    Ok(failed == 0)
}

/// What is printed at the start.
fn greeting(actors: &Actors, attack_page: &str) -> String {
    let url = actors.mcp_url();
    format!(
        r#"mcp-deputy sandbox: everything runs on this computer, until you press Ctrl-C.

  Give this URL to an MCP client:

      {url}

  Claude Code     claude mcp add --transport http deputy {url}    (then: claude mcp login deputy)
  Codex           codex mcp add deputy --url {url}
  VS Code         code --add-mcp '{{"name":"deputy","type":"http","url":"{url}"}}'
  Cursor          {{"mcpServers":{{"deputy":{{"url":"{url}"}}}}}}    (in ~/.cursor/mcp.json)
  MCP Inspector   npx @modelcontextprotocol/inspector --transport http --server-url {url}    (needs Node 22)
  in a terminal   npx @modelcontextprotocol/inspector --cli {url} --method tools/call --tool-name whoami
  mcp-remote      npx mcp-remote {url}    (for clients that can only start a program)

  Claude Code and Codex say who they are by a web address, which the gateway looks up: they need the internet to sign in.

  In the browser: Approve, sign in as Ada or Grace at {name}, Authorize. Then ask your client to call "whoami".

  See which apps are connected, and disconnect them:

      {origin}/account

  See the attack, how it succeeds elsewhere and how it fails here:

      {attack_page}/

  Who is where:

      mcp-deputy    {origin}
      third party   {third_party}    ({name}, simulated; remembers consent, then skips its page)
      MCP server    {mcp_server}    (sample; only its proxies should reach it)
      naive proxy   {naive}    (vulnerable on purpose; never use it for anything real)
      health        http://{admin}/healthz

"#,
        origin = actors.origin(),
        name = third_party::NAME,
        third_party = actors.third_party.origin(),
        mcp_server = actors.mcp_server.url(),
        naive = actors.naive_proxy.origin(),
        admin = actors.admin(),
    )
}
