#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/rule_counts.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {

enum class OrgState { kProvisioning, kReady, kClosing, kClosed };
[[nodiscard]] std::string_view OrgStateName(OrgState state);

// A source of an organisation.
struct OrgSource {
  std::shared_ptr<const v1::SourceDefined> defined;  // whole, with its sealed secrets
  // Where in `provisioning` a run of an entity was asked for last in this epoch; "": of all.
  std::map<std::string, Offset> runs;
};

// One organisation as the `provisioning` topic tells it: the fold of its outcomes. Immutable.
struct OrgEntry {
  OrgId org;
  OrgState state = OrgState::kProvisioning;
  uint32_t incarnation = 0;
  std::string display_name;
  Offset opened;        // OrgOpened of this incarnation, in `changes`
  Offset last_control;  // its newest control event in `changes`
  uint32_t next_entity_id = 1;
  std::shared_ptr<const OrgModel> model;  // definitions, without rules
  // "entity/account", "profile/field", "role/x", "source/crm", "org" -> ETag
  std::map<std::string, std::string> etags;
  std::map<std::string, OrgSource> sources;  // those of `model`
  // What Decide() remembers, shared by all entries of the organisation.
  std::shared_ptr<RuleCounts> rule_counts = std::make_shared<RuleCounts>();
};

// The strong ETag of a definition: its canonical bytes and the offset that brought it.
[[nodiscard]] std::string MakeEtag(std::string_view definition, Offset offset);

// All organisations, a pure fold of `provisioning`. Of several outcomes of one request the first
// counts. Apply is called by one thread a partition (of several partitions in any order); the rest
// by any.
class Directory {
 public:
  // What became of a request, from its outcome.
  struct Outcome {
    std::string request_id;
    absl::Status status;  // why it was refused
    Offset changes_offset = kNoOffset;
    std::string control_id;  // of the control event at changes_offset; empty where there is none
    std::string etag;        // of the definition now
    bool existed = false;    // a replacement, or nothing had to change
  };

  Directory();
  ~Directory();

  // Folds one event of `provisioning`. Requests change nothing; outcomes do. Returns the outcome
  // that the event is, if it is one. Malformed events are kInvalidArgument and change nothing.
  [[nodiscard]] absl::StatusOr<std::optional<Outcome>> Apply(const eventlog::StoredEvent& event);

  // nullptr where there never was one.
  [[nodiscard]] std::shared_ptr<const OrgEntry> Find(const OrgId& org) const;
  // Ascending by name, after `after` (empty: from the first), at most `limit`.
  [[nodiscard]] std::vector<std::shared_ptr<const OrgEntry>> List(std::string_view after,
                                                                  size_t limit) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The id of the control event that a request leads to: a UUID (version 8) made from the request's,
// so that every sequencer that decides the request gives the same.
[[nodiscard]] std::string ControlEventId(std::string_view request_id);

// A refusal as an outcome carries it: kind, code, message and column, as Directory::Apply() gives
// them back.
void SetRefusal(const absl::Status& refusal, v1::ProvisioningOutcome* outcome);

// Decides a request against an entry (nullptr: unknown organisation): what the sequencer does,
// pure. `at` is where in `provisioning` the request is, which no other one ever was. The change to
// make, or the refusal with its stable code (org_not_found, org_not_ready, precondition_failed,
// incompatible_schema, attribute_in_use, unknown_entity, ...).
struct Decision {
  v1::ProvisioningOutcome outcome;         // without offsets
  std::optional<eventlog::Event> control;  // to be sequenced into `changes`, without id and time
};
[[nodiscard]] absl::StatusOr<Decision> Decide(const OrgId& org, const OrgEntry* entry,
                                              const v1::ProvisioningRequest& request, Offset at);

// Parses the JSON of gateways/docs/api.md, section 4; names and kinds are checked, what they refer
// to is for Decide.
[[nodiscard]] absl::StatusOr<v1::Profile> ParseProfile(std::string_view name,
                                                       std::string_view json);
[[nodiscard]] absl::StatusOr<v1::Role> ParseRole(std::string_view name, std::string_view json);
[[nodiscard]] std::string ProfileToJson(const v1::Profile& profile);
[[nodiscard]] std::string RoleToJson(const v1::Role& role);

}  // namespace sluice::projectors
