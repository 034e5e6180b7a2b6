"""The Cedar schema that every access policy is checked against: who, what, and on what.

Cedar's schema syntax: https://docs.cedarpolicy.com/schema/human-readable-schema.html
"""

from __future__ import annotations

from typing import Final

CEDAR_SCHEMA: Final = """\
// A group of principals; a policy file says who is in it, under [access.roles].
entity Role in [Role];

entity Person in [Role];

// A model, whoever it works for.
entity Agent in [Role];

// A model in one conversation. It is not in its person's roles: what a person may do, a model
// that works for them may not do for that reason.
entity Session in [Agent, Role] = { person: Person };

// Places, credentials and kinds of permission, by name. A version is in each that it declares.
entity Host;
entity Secret;
entity Permission;

entity Tool;

entity Version in [Tool, Host, Secret, Permission] = {
  name: String,
  level: String,    // L0, L1, L2, L3
  author: Person,
  origin: String,   // human, agent, import
  state: String,    // proposed, draft, quarantined, approved, deprecated, archived, revoked
};

type Circumstances = {
  vote: String,     // of approve: approve, reject, change
  rule: String,     // of waive: the rule that the finding is about
  approvals: Long,  // how many people have said yes so far
};

action define, admit, call, approve, waive, deprecate, revoke, export, read_source
  appliesTo {
    principal: [Person, Agent, Session],
    resource: [Version],
    context: Circumstances,
  };
"""
