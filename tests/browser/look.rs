//! On what screen, in what language and by what light a page is looked at, and what must be true of every page there.

use serde_json::{Value, json};

use crate::support::{Browser, Pointer, seen};

/// A person's way of looking.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// The end of the names of its pictures.
    pub(crate) name: &'static str,
    /// `Accept-Language`, as browsers send it.
    pub(crate) wants: &'static str,
    /// What they get.
    pub(crate) language: &'static str,
    /// Width and height of the page's window, in CSS pixels.
    pub(crate) size: (u32, u32),
    pub(crate) scheme: &'static str,
    pub(crate) pointer: Pointer,
    /// The size of text in CSS pixels; 16 where nobody changed it.
    pub(crate) text: u32,
}

const ENGLISH: (&str, &str) = ("en-US,en;q=0.9", "en");
const GERMAN: (&str, &str) = ("de-AT,de;q=0.9,en;q=0.8", "de");

/// The smallest phone that is looked at.
pub(crate) const SMALL: (u32, u32) = (320, 568);

impl Look {
    pub(crate) const DESK: Self = Self::of("desk-en", ENGLISH, (1_000, 900), "light", Pointer::Mouse);
    pub(crate) const DESK_DARK: Self =
        Self::of("desk-en-dark", ENGLISH, (1_000, 900), "dark", Pointer::Mouse);
    pub(crate) const DESK_GERMAN: Self = Self::of("desk-de", GERMAN, (1_000, 900), "light", Pointer::Mouse);
    pub(crate) const PHONE: Self = Self::of("phone-en", ENGLISH, SMALL, "light", Pointer::Finger);
    pub(crate) const PHONE_GERMAN: Self = Self::of("phone-de", GERMAN, SMALL, "light", Pointer::Finger);
    pub(crate) const PHONE_GERMAN_DARK: Self =
        Self::of("phone-de-dark", GERMAN, (390, 844), "dark", Pointer::Finger);
    /// Text at twice its size (WCAG 2.2, 1.4.4): what a browser zoomed to 200 % shows on a small window, and a phone whose
    /// owner wants large letters.
    pub(crate) const LARGE_GERMAN: Self =
        Self { text: 32, ..Self::of("large-de", GERMAN, (640, 1_000), "light", Pointer::Finger) };

    const fn of(
        name: &'static str,
        (wants, language): (&'static str, &'static str),
        size: (u32, u32),
        scheme: &'static str,
        pointer: Pointer,
    ) -> Self {
        Self { name, wants, language, size, scheme, pointer, text: 16 }
    }

    /// A browser that looks like this.
    pub(crate) async fn open(&self) -> Option<Browser> {
        let browser = Browser::start_for(self.pointer, self.text).await?;
        browser.language(self.wants).await;
        browser.screen(self.size.0, self.size.1).await;
        browser.media("prefers-color-scheme", self.scheme).await;
        Some(browser)
    }

    /// Takes a picture of the page that `browser` shows, as `NAME-LOOK.png`, and fails where something is wrong with it.
    pub(crate) async fn take(&self, browser: &Browser, name: &str) {
        self.picture(browser, &format!("{name}-{}", self.name)).await;
        let [wrong, measured] = judged(browser).await;
        assert_eq!(wrong, json!([]), "{name} {}", self.name);
        assert!(measured.as_u64().unwrap() >= 4, "{name}: texts were looked at: {measured}");
        assert_eq!(browser.ask("return document.documentElement.lang").await, self.language, "{name}");
    }

    /// The whole page. Where Approve follows a mouse, the window grows before the picture instead of for it, and waits.
    async fn picture(&self, browser: &Browser, name: &str) {
        let (width, height) = self.size;
        let has_approve = browser.ask("return !!document.querySelector('.approve')").await == true;
        if !has_approve || matches!(self.pointer, Pointer::Finger) {
            return browser.screenshot(name).await;
        }
        let tall = browser.ask("return document.documentElement.scrollHeight").await.as_u64().unwrap();
        let tall = u32::try_from(tall).unwrap();
        browser.screen(width, tall.max(height)).await;
        browser.point_at((i64::from(width) / 2, 301)).await;
        browser.wait_for(&format!("return {}", seen(".approve"))).await;
        browser.screenshot_of_window(name).await;
        browser.screen(width, height).await;
    }
}

/// What is wrong with a page as it is painted, and how many texts were looked at.
pub(crate) async fn judged(browser: &Browser) -> [Value; 2] {
    let answer = browser.ask(JUDGE).await;
    [answer[0].clone(), answer[1].clone()]
}

/// Whether every text can be read (WCAG 2.2 level AA: 1.4.3 contrast, 1.4.10 reflow), nothing is cut off or lies on something
/// else, everything that is pressed is as large as a finger, and no place in a sentence was left open. What can be unfolded is.
const JUDGE: &str = r"
    const wrong = [], page = document.documentElement, main = document.querySelector('main');
    const say = (what, e) => wrong.push(what + ': ' + (e.outerHTML || e).slice(0, 120));
    const folded = [...document.querySelectorAll('details:not([open])')];
    folded.forEach(e => e.open = true);

    if (getComputedStyle(document.body).marginTop !== '0px') say('without its style', document.body);
    if (page.scrollWidth > page.clientWidth) say('scrolls sideways', page.scrollWidth + ' > ' + page.clientWidth);
    const headings = [...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1]);
    if (headings[0] !== 1 || headings.lastIndexOf(1) !== 0 || headings.some((h, i) => h > headings[i - 1] + 1))
        say('headings out of order', headings.join());
    if (main.getBoundingClientRect().height < innerHeight) say('a pointer beside the page', main);

    const rgb = text => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const colour = rgb(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
    let measured = 0;
    while (texts.nextNode()) {
        const text = texts.currentNode, e = text.parentElement, style = getComputedStyle(e);
        if (!text.data.trim()) continue;
        measured++;
        const [a, b] = [light(rgb(style.color)), light(ground(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (contrast < (isLarge ? 3 : 4.5)) say('faint, ' + contrast.toFixed(2), e);
        if (size < 13) say('tiny, ' + size, e);
        range.selectNodeContents(text);
        // A name is cut after three lines, and says so.
        if (!e.closest('.name') && [...range.getClientRects()].some(box => box.left < 0 || box.right > page.clientWidth + 0.5))
            say('outside of the page', e);
        if (!e.closest('pre, bdi, code') && /\{[a-z_]+\}/.test(text.data)) say('a place left open', e);
    }
    for (const e of document.querySelectorAll('button, summary, .onward, .aside a, .box label')) {
        const box = e.getBoundingClientRect();
        if (box.height < 44 || box.width < 44) say('too small for a finger', e);
        if (e.scrollWidth > e.clientWidth + 1) say('wider than its frame', e);
        if (!(e.ariaLabel || e.textContent).trim()) say('has no name', e);
    }
    const pressed = [...document.querySelectorAll('button, summary, .onward, .aside a, .box label')].map(e => e.getBoundingClientRect());
    pressed.forEach((a, i) => pressed.slice(i + 1).forEach(b => {
        const over = Math.min(a.right, b.right) - Math.max(a.left, b.left), under = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (over > 1 && under > 1) say('two things to press lie on each other', JSON.stringify([a, b]));
    }));
    folded.forEach(e => e.open = false);
    return [wrong, measured]";

#[tokio::test]
async fn what_is_wrong_with_a_page_is_found() {
    let Some(browser) = Look::PHONE.open().await else { return };
    let site = crate::site::Site::start("http://localhost/".to_owned()).await;
    for (spoil, found) in [
        (
            "document.querySelector('p').style.color = '#8a8a8a'; document.body.style.background = '#fff'",
            "faint",
        ),
        ("document.querySelector('h1').style.width = '400px'", "scrolls sideways"),
        (
            "document.querySelector('button').style.cssText = 'min-height: 0; padding: 0; align-self: start'",
            "too small",
        ),
        ("document.querySelector('h1').style.marginLeft = '-40px'", "outside"),
        ("document.querySelector('p').innerText = 'to {provider}'", "left open"),
        ("document.querySelector('h2').outerHTML = '<h3>x</h3>'", "out of order"),
        ("document.querySelector('code').style.fontSize = '9px'", "tiny"),
        ("document.querySelector('.approve').style.marginLeft = '-9rem'", "on each other"),
        ("document.querySelector('style').remove()", "without its style"),
    ] {
        browser.goto(&site.url("/consent/0")).await;
        assert_eq!(judged(&browser).await[0], json!([]));
        browser.ask(spoil).await;
        let wrong = judged(&browser).await[0].to_string();
        assert!(wrong.contains(found), "{found}: {wrong}");
    }
}
