//! The page of connected apps, as a person uses it.

use bytes::Bytes;
use http::{HeaderName, Request};
use mcp_deputy::sandbox::browser::{Page, jar::Sending};

use super::{Gateway, Reply, Visitor, gateway::form_request};

impl Visitor {
    /// Opens the page.
    pub(crate) async fn account(&mut self, gateway: &Gateway) -> Page {
        let page = self.open(&gateway.url("/account")).await;
        assert_eq!(page.status, 200, "{}", page.body);
        page
    }

    /// Signs in with this provider entry, there and back; the page that is shown then.
    pub(crate) async fn sign_in(&mut self, gateway: &Gateway, provider: &str) -> Page {
        let page = self.account(gateway).await;
        let departure = self.act(&page, "sign_in", provider).await;
        let page = self.go_on(&departure).await;
        assert_eq!((page.url.path(), page.status.as_u16()), ("/account", 200), "{}", page.body);
        page
    }

    /// Presses the button that sends this, and takes the first answer.
    pub(crate) async fn act(&mut self, page: &Page, name: &str, value: &str) -> Page {
        let sent = (name.to_owned(), value.to_owned());
        let form = page
            .forms()
            .into_iter()
            .find(|form| form.buttons.iter().any(|button| button.field.as_ref() == Some(&sent)));
        let form = form.unwrap_or_else(|| panic!("no button sends {sent:?}: {}", page.body));
        let mut fields = form.fields.clone();
        fields.push(sent);
        let page = self.browser.submit_once(page, &form, fields).await.unwrap();
        self.seen(page)
    }

    /// Disconnects the app with this name; the page after it.
    pub(crate) async fn disconnect(&mut self, page: &Page, name: &str) -> Page {
        let id = app_id(page, name).unwrap_or_else(|| panic!("no {name} here: {}", page.body));
        let done = self.act(page, "disconnect", &id).await;
        assert_eq!(done.status, 303, "{}", done.body);
        self.go_on(&done).await
    }

    /// The cookies that this browser would send to an address of the gateway.
    pub(crate) fn cookies(&mut self, gateway: &Gateway, path: &str) -> String {
        let url = gateway.url(path).parse().unwrap();
        let sending = Sending { cross_site: false, safe: true };
        let cookies = self.browser.jar().for_request(&url, sending);
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

/// The names of the apps on the page, in order.
pub(crate) fn app_names(page: &Page) -> Vec<String> {
    let after = page.body.split("aria-label=\"Disconnect ").skip(1);
    after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

/// What the button beside the app with this name sends.
pub(crate) fn app_id(page: &Page, name: &str) -> Option<String> {
    let buttons = page.body.split("name=\"disconnect\" value=\"").skip(1);
    let mut buttons = buttons.filter_map(|rest| rest.split_once('>')).map(|(button, _)| button);
    let label = format!("aria-label=\"Disconnect {name}\"");
    let button = buttons.find(|button| button.contains(&label))?;
    Some(button.split_once('"')?.0.to_owned())
}

/// The sealed page in its forms.
pub(crate) fn sealed(page: &Page) -> String {
    let fields = page.forms().into_iter().flat_map(|form| form.fields);
    fields.into_iter().find(|(name, _)| name == "form").expect("the page is sealed into its forms").1
}

/// A POST of a page of ours, with these cookies and other headers.
pub(crate) async fn post(
    gateway: &Gateway,
    cookies: &str,
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Reply {
    let mut request: Request<Bytes> = form_request(&gateway.url("/account"), form);
    for (name, value) in [("cookie", cookies)].iter().chain(headers).filter(|(_, value)| !value.is_empty()) {
        request
            .headers_mut()
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    gateway.send(request).await
}
