//! rmcp, the official Rust SDK: `rmcp-client URL`, built outside this package (see `run`).

use std::{env, process::Command};

use rmcp::{
    ServiceExt,
    model::CallToolRequestParams,
    transport::{
        AuthClient, StreamableHttpClientTransport,
        auth::{AuthorizationManager, AuthorizationRequest, AuthorizationSession},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = env::args().nth(1).ok_or("which URL?")?;
    let mut manager = AuthorizationManager::new_allowing_private_addresses(&url).await?;
    let found = manager.resolve_metadata().await?;
    manager.set_metadata(found.metadata);
    let asked = AuthorizationRequest::new("http://127.0.0.1:9/callback").with_client_name("rmcp");
    let session = AuthorizationSession::new(manager, asked).await.map_err(|(_, error)| error)?;

    let person =
        Command::new(env::var("PERSON")?).args([session.get_authorization_url(), "--print"]).output()?;
    let landed = String::from_utf8(person.stdout)?;
    session.handle_callback_url(landed.trim()).await?;

    let client = AuthClient::new(reqwest::Client::new(), session.auth_manager);
    let manager = client.auth_manager.clone();
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let client = ().serve(StreamableHttpClientTransport::with_client(client, config)).await?;
    let tools = client.list_all_tools().await?.len();
    let before = whoami(&client).await?;
    let old = manager.lock().await.get_access_token().await?;
    manager.lock().await.refresh_token().await?;
    let new = manager.lock().await.get_access_token().await?;
    let after = whoami(&client).await?;
    if !(before.contains("ada") && after.contains("ada") && old != new) {
        return Err("somebody else, or no new token".into());
    }
    client.cancel().await?;
    println!("{tools} tools, whoami, refresh, whoami");
    Ok(())
}

async fn whoami(client: &rmcp::service::RunningService<rmcp::RoleClient, ()>) -> Outcome<String> {
    Ok(format!("{:?}", client.call_tool(CallToolRequestParams::new("whoami")).await?))
}
