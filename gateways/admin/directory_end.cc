#include "gateways/admin/directory_end.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <string>
#include <thread>

#include "gateways/ingest/look_interval.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace net = boost::asio;

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kEndLookMax{20};

absl::Status NotRead() {
  return Error(absl::StatusCode::kUnavailable, "not_caught_up",
               "this server has yet to read the organisations and definitions that the log has: "
               "try again");
}

// One wait. The end is that of its beginning: a log that grows all the while would otherwise never
// be reached. Nobody else's times come in or go out, only how long ago something was: the directory
// goes by a clock that is ahead of this one by all the time for which the machine was suspended.
class DirectoryEnd {
 public:
  DirectoryEnd(projectors::DirectoryFollower& directory, const OrgId& org, SteadyTime::duration ago,
               std::chrono::milliseconds patience)
      : directory_(directory),
        org_(org),
        begun_(SteadyClock::now()),
        since_(begun_ - ago),
        deadline_(begun_ + patience) {}

  // How it ended; nullopt: look again after pause().
  std::optional<absl::Status> Look() {
    if (!end_.has_value()) {
      const auto answer = directory_.EndSince(org_, SteadyClock::now() - since_);
      if (answer.has_value() && !answer->ok()) {
        return NotRead();
      }
      if (answer.has_value()) {
        end_ = **answer;
      }
    }
    if (end_.has_value() && directory_.ReadUntil(org_) >= *end_) {
      return absl::OkStatus();
    }
    return SteadyClock::now() >= deadline_ ? std::make_optional(NotRead()) : std::nullopt;
  }
  std::chrono::milliseconds pause() { return look_.Next(); }

 private:
  projectors::DirectoryFollower& directory_;
  const OrgId& org_;
  const SteadyClock::time_point begun_;
  const SteadyClock::time_point since_;
  const SteadyClock::time_point deadline_;
  std::optional<Offset> end_;
  Backoff look_ = LookInterval(kEndLookMax);
};

}  // namespace

bool IsOfTheDirectory(const absl::Status& status) {
  const std::string code = status.ok() ? "" : ErrorCode(status);
  return code == "org_not_found" || code == "org_not_ready" || code == "entity_not_found" ||
         code == "profile_not_found" || code == "role_not_found";
}

net::awaitable<absl::Status> ReachDirectoryEnd(projectors::DirectoryFollower& directory,
                                               const OrgId& org, std::chrono::milliseconds patience,
                                               const std::function<bool()>& stopping) {
  DirectoryEnd end(directory, org, SteadyTime::duration::zero(), patience);
  std::optional<absl::Status> status = end.Look();
  net::steady_timer timer(co_await net::this_coro::executor);
  while (!status.has_value() && !stopping()) {
    timer.expires_after(end.pause());
    co_await timer.async_wait(net::as_tuple(net::use_awaitable));
    status = end.Look();
  }
  co_return status.value_or(NotRead());
}

absl::Status AwaitDirectoryEnd(projectors::DirectoryFollower& directory, const OrgId& org,
                               SteadyTime::duration ago, std::chrono::milliseconds patience) {
  DirectoryEnd end(directory, org, ago, patience);
  std::optional<absl::Status> status = end.Look();
  while (!status.has_value()) {
    std::this_thread::sleep_for(end.pause());
    status = end.Look();
  }
  return *std::move(status);
}

}  // namespace sluice::gateways
