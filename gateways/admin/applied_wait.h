#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "projectors/store/store_reader.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// How far organisations are applied, here or at the node that serves them. Thread-safe.
class AppliedWait {
 public:
  using RemoteApplied = std::function<std::optional<Offset>(const OrgId&)>;
  using MayServe = std::function<absl::Status(const OrgId&)>;
  // Each may be null.
  AppliedWait(projectors::StoreReader* stores, RemoteApplied remote, MayServe may_serve)
      : stores_(stores), remote_(std::move(remote)), may_serve_(std::move(may_serve)) {}

  // Does this process hold the organisation's store, and fold its partition? What a store holds
  // that went to another node is frozen, and nothing is said of it.
  [[nodiscard]] bool Here(const OrgId& org) const;
  // Here, and near the log's end: what the store holds is what there is.
  [[nodiscard]] bool Current(const OrgId& org) const {
    return stores_ != nullptr && (!may_serve_ || may_serve_(org).ok());
  }
  // What is known is what there is, or what the node that serves it has announced: what a store
  // holds that is behind may be less than what was told before.
  [[nodiscard]] bool Known(const OrgId& org) const { return !Here(org) || Current(org); }
  // kNoOffset where nothing is known. May open a store.
  [[nodiscard]] Offset Applied(const OrgId& org) const;
  // Likewise, but never opens one (StoreReader::KnownAppliedOf).
  [[nodiscard]] Offset KnownApplied(const OrgId& org) const;
  // Asks whether `org` is applied up to `offset`; for AnswerWait.
  [[nodiscard]] std::function<bool()> Reached(const OrgId& org, Offset offset) const {
    return [this, org, offset] { return Applied(org) >= offset; };
  }

 private:
  Offset WithRemote(const OrgId& org, Offset applied) const;

  projectors::StoreReader* const stores_;
  const RemoteApplied remote_;
  const MayServe may_serve_;
};

}  // namespace sluice::gateways
