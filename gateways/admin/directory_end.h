#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>

#include "absl/status/status.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

// A last word on what is not in the directory, or is not as a caller has it, may be said only where
// everything has been read that the log had when the caller had come: another process may have
// decided it, and acknowledged it, a moment ago. All are thread-safe.
namespace sluice::gateways {

// Is that a last word that was made of what the directory happened to hold?
[[nodiscard]] bool IsOfTheDirectory(const absl::Status& status);

// Returns when the directory holds everything of the organisation's partition that the log had at
// some moment after the call. kUnavailable "not_caught_up" where that is not so after `patience`,
// or the log does not say where it ends; the codes of DirectoryFollower::Agreement() where the log
// contradicts itself. Waits without a thread; no longer once `stopping` says so.
[[nodiscard]] boost::asio::awaitable<absl::Status> ReachDirectoryEnd(
    projectors::DirectoryFollower& directory, const OrgId& org, std::chrono::milliseconds patience,
    const std::function<bool()>& stopping);

// The same, on a thread that may block, and of some moment since `ago` ago.
[[nodiscard]] absl::Status AwaitDirectoryEnd(projectors::DirectoryFollower& directory,
                                             const OrgId& org, SteadyTime::duration ago,
                                             std::chrono::milliseconds patience);

}  // namespace sluice::gateways
