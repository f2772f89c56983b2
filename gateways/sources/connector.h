#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/secrets/secret_text.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

// The seam between what drives sources and what talks with a kind of them.
// gateways/docs/sources-design.md.
namespace sluice::gateways {

using Secrets = std::map<std::string, SecretText, std::less<>>;

// What a run works with.
struct SourceContext {
  OrgId org;
  uint32_t incarnation = 0;
  v1::SourceSettings settings;
  Secrets secrets;            // opened; they go with the run
  std::string stream;         // the entity; empty for a connector that reads a source as a whole
  std::string cursor;         // of the last taken step; empty: from the begin
  std::string former_cursor;  // where `cursor` is empty as the source began anew: the one before
};

// Rows that belong together, applied whole: at most kSetOpsMax operations and kSetBytesMax bytes.
struct SourceSet {
  // Default: the context's. A set of another organisation has no step, so it needs an `id` that is
  // the same whenever it is read, and versions.
  OrgId org;
  std::string id;                     // empty: the sink makes one
  std::vector<v1::Operation> ops;     // may be empty where `cursor` moves
  std::optional<std::string> cursor;  // nullopt: stays
  bool number_is_version = false;  // every operation gets the number of the set's step as version
};

inline constexpr size_t kSetOpsMax = 50'000;
inline constexpr size_t kSetBytesMax = size_t{6} << 20;

// A row that can't be taken: it goes to `deadletter`, and the run goes on.
struct RejectedRow {
  OrgId org;  // default: the context's
  std::string entity;
  std::string key;  // as far as it is known
  std::string code;
  std::string reason;    // no secret, no URL with a query
  std::string_view row;  // as the source gave it
};

// Where the rows of one run go. Used by one thread, but for stopping(). An error ends the run,
// which returns it:
//   kAborted             code "superseded": another worker goes on with the stream
//   kCancelled           the run is to stop
//   kUnavailable         the log
//   kNotFound            the organisation is gone
//   kFailedPrecondition  the source was changed, or an entity can't be defined so; code
//                        "too_many_rejected": nothing is tried before the stream's next turn
class RowSink {
 public:
  virtual ~RowSink() = default;

  // Appends the set; waits for room and, amid a load, for the fold. Durable only after Flush().
  // Operations that can't be applied by their form (an entity that is unknown, a row of the wrong
  // types) are rejected by themselves.
  virtual absl::Status Append(SourceSet set) = 0;
  // Everything appended is durable, and its steps were taken.
  virtual absl::Status Flush() = 0;
  // The number of the step of the next set.
  [[nodiscard]] virtual uint64_t next_number() const = 0;

  // Has the entity defined, and returns its schema once that is known here: sets appended then lie
  // behind it. Idempotent. Codes as PUT …/entities/{entity} has them, and "entity_has_source".
  virtual absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> Define(
      const OrgId& org, const v1::ProvisioningRequest::PutEntity& entity) = 0;
  // nullptr: no such entity or organisation.
  virtual std::shared_ptr<const schemas::EntitySchema> Find(const OrgId& org,
                                                            std::string_view entity) = 0;

  // For sources that have rows of other organisations. Opens one that there never was; one that is
  // open is well. kNotFound, code "org_not_found", where it was closed.
  virtual absl::Status OpenOrg(const OrgId& org) = 0;
  // Calls `visit` with each organisation, the source's own too, whose entity of that name is the
  // source's, in the order of their names; an error of it ends the walk.
  virtual absl::Status ForEachOrg(std::string_view entity,
                                  const std::function<absl::Status(const OrgId&)>& visit) = 0;

  // "too_many_rejected" past the limit: the run ends, and nothing is swept.
  virtual absl::Status Reject(const RejectedRow& row) = 0;

  // For people; cheap, so called once a page or set, and then alone: it tells that something came
  // of the source, as Append() and Reject() do, without which the run is ended. `state`, `loaded`,
  // `total`, `lag_us`, `position` and `split` are read.
  virtual void Report(const v1::RunNumbers& numbers) = 0;
  // While it loads, not much is appended before it is folded, so that others are not held up.
  virtual void set_loading(bool loading) = 0;
  // May be asked by any thread.
  [[nodiscard]] virtual bool stopping() const = 0;
  // False as soon as the run is to stop.
  [[nodiscard]] virtual bool Pause(std::chrono::milliseconds delay) = 0;
};

// What a source offers: the answer of POST …/sources/{source}/check.
struct SourceOffer {
  struct Refused {
    std::string name;
    std::string code;
    std::string reason;
  };
  struct Entity {
    v1::ProvisioningRequest::PutEntity definition;
    std::optional<uint64_t> rows;
    bool tracks_changes = false;
    std::vector<Refused> refused;  // attributes
  };
  std::vector<Entity> entities;
  std::vector<Refused> refused;  // entities
};

// One kind of source. Thread-safe; runs are independent of one another.
class Connector {
 public:
  virtual ~Connector() = default;

  // Value of SourceSettings::kind.
  [[nodiscard]] virtual std::string_view kind() const = 0;
  // Whether each entity is a stream of its own, which is read every interval. Otherwise there is
  // one stream, "", that is read until it is to stop.
  [[nodiscard]] virtual bool by_entity() const = 0;

  // Without a connection. `org` has the source; `tenant`: who asks is bound to it alone.
  // kInvalidArgument, code "invalid_argument" or "source_not_allowed".
  [[nodiscard]] virtual absl::Status Validate(const v1::SourceSettings& settings, const OrgId& org,
                                              bool tenant) const = 0;
  // The entities that are to be read, where all of the source's are asked for. Connects.
  [[nodiscard]] virtual absl::StatusOr<SourceOffer> Check(
      const SourceContext& context, const std::function<bool()>& stopping) = 0;
  // Reads until the source has no more for now (by_entity()) or is to stop. Of its errors
  // kUnavailable and kResourceExhausted are tried again, at the earliest after RetryAfterOf(); with
  // others the stream waits for its next turn.
  virtual absl::Status Run(const SourceContext& context, RowSink& sink) = 0;
};

}  // namespace sluice::gateways
