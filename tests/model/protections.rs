//! The search with everything on, and with each protection off.

use crate::{
    explore::{Wanted, explore},
    properties::Property,
    scenario::{self, Scenario},
    switches::{
        Off,
        Protection::{self, *},
    },
};

#[test]
fn with_all_protections_no_property_is_broken() {
    let (mut states, mut steps) = (0, 0);
    for scenario in scenario::ALL {
        let report = explore(scenario, Off::NONE, Wanted::Any);
        println!("{report}");
        if let Some(counterexample) = &report.counterexample {
            panic!("{}:\n{counterexample}", scenario.name);
        }
        states += report.states;
        steps += report.steps;
    }
    println!("together: {states} states, {steps} steps, no violation");
}

/// With these off, this property is broken in this world.
fn breaks(off: &[Protection], scenario: &Scenario, property: Property) {
    let report = explore(scenario, Off::of(off), Wanted::Only(property));
    println!("without {off:?} ({report}):");
    match report.counterexample {
        Some(counterexample) => println!("{counterexample}\n"),
        None => panic!("nothing breaks {property:?}: {off:?} is good for nothing"),
    }
}

/// With these off, something else still holds.
fn is_backed_up(off: &[Protection], scenario: &Scenario) {
    let report = explore(scenario, Off::of(off), Wanted::Any);
    println!("without {off:?} ({report}): nothing is broken");
    if let Some(counterexample) = report.counterexample {
        panic!("without {off:?}:\n{counterexample}");
    }
}

#[test]
fn without_the_consent_proof_the_deputy_is_confused() {
    breaks(&[ConsentProof], &scenario::ATTACKER, Property::P3);
    breaks(&[ConsentProof], &scenario::ATTACKER, Property::P1);
}

#[test]
fn without_origin_and_render_cookie_a_form_is_posted_for_the_person() {
    is_backed_up(&[SameOriginPost], &scenario::FORMS);
    is_backed_up(&[RenderCookie], &scenario::FORMS);
    breaks(&[SameOriginPost, RenderCookie], &scenario::FORMS, Property::P3);
    breaks(&[SameOriginPost, RenderCookie], &scenario::FORMS, Property::P1);
}

#[test]
fn without_the_ticket_cookie_another_browser_finishes_the_journey() {
    breaks(&[TicketCookie], &scenario::ATTACKER, Property::P1);
}

#[test]
fn without_the_arrival_cookie_another_browser_answers_the_second_page() {
    breaks(&[ArrivalCookie], &scenario::SECOND_PAGE, Property::P1);
}

#[test]
fn without_taking_tickets_once_a_page_gives_two_codes() {
    is_backed_up(&[TicketOnce], &scenario::CALLBACK_TWICE);
    is_backed_up(&[GrantIdOnce], &scenario::CALLBACK_TWICE);
    breaks(&[TicketOnce, GrantIdOnce], &scenario::CALLBACK_TWICE, Property::P2);
}

#[test]
fn without_taking_arrivals_once_a_page_gives_two_codes() {
    is_backed_up(&[ArrivalOnce], &scenario::ARRIVAL_TWICE);
    is_backed_up(&[GrantIdOnce], &scenario::ARRIVAL_TWICE);
    breaks(&[ArrivalOnce, GrantIdOnce], &scenario::ARRIVAL_TWICE, Property::P2);
}

#[test]
fn without_one_grant_id_per_page_a_page_that_is_posted_twice_gives_two_codes() {
    breaks(&[GrantIdOnce], &scenario::TWICE, Property::P2);
}

#[test]
fn without_matching_redirect_uris_a_shared_client_id_is_enough() {
    breaks(&[RedirectMatch], &scenario::ATTACKER, Property::P1);
}

#[test]
fn without_waiting_for_the_approval_there_is_a_state_before_it() {
    breaks(&[StateAfterApproval], &scenario::ATTACKER, Property::P4);
}

#[test]
fn without_the_fingerprint_an_app_gets_what_another_was_shown_as() {
    breaks(&[Fingerprint], &scenario::CHANGING, Property::P1);
}

#[test]
fn without_comparing_the_person_somebody_else_is_connected() {
    breaks(&[PersonCompare], &scenario::SECOND_PAGE, Property::P1);
}

#[test]
fn without_comparing_the_scopes_more_is_given_than_was_shown() {
    breaks(&[ScopeCompare], &scenario::SECOND_PAGE, Property::P1);
}

#[test]
fn without_the_mark_first_a_revocation_misses_what_is_coming() {
    breaks(&[MarkFirst], &scenario::REVOKED, Property::P5);
}

#[test]
fn without_the_pending_grant_first_a_revocation_misses_what_is_coming() {
    breaks(&[PendingFirst], &scenario::REVOKED, Property::P5);
}

#[test]
fn without_reading_the_marks_again_a_code_follows_a_revocation() {
    breaks(&[MarksReadAgain], &scenario::REVOKED, Property::P5);
}

#[test]
fn without_keeping_the_mark_a_new_approval_revives_an_old_one() {
    breaks(&[MarksKept], &scenario::APPROVED_AGAIN, Property::P5);
}

#[test]
fn without_the_marks_at_use_a_crash_keeps_alive_what_was_revoked() {
    breaks(&[MarksAtUse], &scenario::REVOKED, Property::P5);
}

#[test]
fn without_ending_the_grants_a_code_outlives_the_revocation() {
    breaks(&[EndsGrants], &scenario::REVOKED, Property::P5);
}

/// With these off, this property still holds in this world, whatever else does not.
fn still_holds(off: &[Protection], scenario: &Scenario, property: Property) {
    let report = explore(scenario, Off::of(off), Wanted::Only(property));
    println!("without {off:?} ({report}): {property:?} holds");
    if let Some(counterexample) = report.counterexample {
        panic!("without {off:?}:\n{counterexample}");
    }
}

#[test]
fn without_the_proof_of_a_sign_in_a_browser_leaves_unasked() {
    breaks(&[SignInAsked], &scenario::SIGN_IN, Property::P3);
    breaks(&[SignInAsked], &scenario::SIGN_IN, Property::P6);
}

#[test]
fn without_a_proof_of_its_own_a_sign_in_is_an_approval() {
    breaks(&[SignInOfItsOwn], &scenario::SIGN_IN, Property::P1);
}

#[test]
fn without_the_cookie_of_a_sign_in_somebody_else_is_signed_in() {
    breaks(&[SignInCookie], &scenario::SIGN_IN, Property::P6);
}

#[test]
fn without_origin_and_render_cookie_a_sign_in_is_begun_for_the_person() {
    is_backed_up(&[SameOriginPost], &scenario::SIGN_IN);
    still_holds(&[RenderCookie], &scenario::SIGN_IN, Property::P3);
    breaks(&[SameOriginPost, RenderCookie], &scenario::SIGN_IN, Property::P3);
}

#[test]
fn without_taking_a_sign_in_once_the_third_party_still_takes_its_code_once() {
    is_backed_up(&[SignInOnce], &scenario::SIGN_IN_TWICE);
}

#[test]
fn without_comparing_the_owner_another_account_loses_its_apps() {
    breaks(&[OwnerCompared], &scenario::CONNECTED, Property::P7);
}

#[test]
fn without_three_protections_the_attackers_page_disconnects_the_persons_apps() {
    still_holds(&[SameOriginPost, RenderCookie], &scenario::CONNECTED_BRIEFLY, Property::P7);
    breaks(&[SameOriginPost, RenderCookie, OwnerCompared], &scenario::CONNECTED_BRIEFLY, Property::P7);
}

#[test]
fn without_what_the_page_showed_a_second_answer_ends_what_was_connected_since() {
    breaks(&[OnlyWhatWasShown], &scenario::CONNECTED, Property::P7);
}

#[test]
fn without_a_conditional_write_two_redeem_one_code() {
    breaks(&[RedeemOnce], &scenario::TOKENS, Property::P2);
}

#[test]
fn without_judging_refresh_tokens_one_has_two_successors() {
    breaks(&[RefreshOnce], &scenario::TOKENS, Property::P2);
}
