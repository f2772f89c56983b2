#include "clients/cpp/sluice_client.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "clients/cpp/pull.h"
#include "schemas/base/status.h"

// The handle: the puller, and what the last call said.
struct sluice_client {
  std::unique_ptr<sluice::client::Puller> puller;
  std::string error_code;
  std::string error_message;
};

namespace {

using sluice::client::Puller;
using sluice::client::PullOptions;
using sluice::client::PullProgress;
using sluice::client::PullResult;

// A server takes no head of this length; it bounds what a callback that is wrong makes us reserve.
constexpr size_t kTokenMax = 64 << 10;

constexpr std::pair<absl::StatusCode, sluice_code> kCodes[] = {
    {absl::StatusCode::kOk, SLUICE_OK},
    {absl::StatusCode::kCancelled, SLUICE_CANCELLED},
    {absl::StatusCode::kInvalidArgument, SLUICE_INVALID},
    {absl::StatusCode::kUnauthenticated, SLUICE_REFUSED},
    {absl::StatusCode::kPermissionDenied, SLUICE_REFUSED},
    {absl::StatusCode::kNotFound, SLUICE_REFUSED},
    {absl::StatusCode::kUnavailable, SLUICE_UNAVAILABLE},
    {absl::StatusCode::kFailedPrecondition, SLUICE_FILE},
    {absl::StatusCode::kResourceExhausted, SLUICE_DISK_FULL},
    {absl::StatusCode::kDataLoss, SLUICE_DATA_LOSS}};

sluice_code CodeOf(absl::StatusCode kind) {
  const auto* const row =
      std::ranges::find(kCodes, kind, &std::pair<absl::StatusCode, sluice_code>::first);
  return row == std::end(kCodes) ? SLUICE_INTERNAL : row->second;
}

// The texts are in place before the code is returned, since the caller asks for them by the code.
// Whether to wipe is looked at before the kind: such a refusal is a refusal too, and an application
// that only knows it as one would keep rows that are no longer its user's.
sluice_code Keep(sluice_client* client, const absl::Status& status) {
  if (status.ok()) {
    client->error_code.clear();
    client->error_message.clear();
  } else {
    client->error_code = sluice::ErrorCode(status);
    client->error_message = sluice::Message(status);
  }
  return sluice::client::WipeDemanded(status) ? SLUICE_REVOKED : CodeOf(status.code());
}

// Where memory was the reason there may be none for the text either; the code needs none.
void KeepDefect(sluice_client* client, const char* what) noexcept {
  client->error_code = "internal";
  try {
    client->error_message = what;
  } catch (const std::bad_alloc&) {
    client->error_message.clear();
  }
}

// Exceptions (of the HTTP library, or no memory) end here: through a C caller's frames they would
// be the end of the process.
template <typename Call>
sluice_code Guarded(sluice_client* client, const Call& call) {
  if (client == nullptr) {
    return SLUICE_INVALID;
  }
  try {
    return Keep(client, call());
  } catch (const std::exception& error) {
    KeepDefect(client, error.what());
  } catch (...) {
    KeepDefect(client, "");
  }
  return SLUICE_INTERNAL;
}

// The same with the puller, which only an open client has.
template <typename Call>
sluice_code WithPuller(sluice_client* client, const Call& call) {
  return Guarded(client, [&]() -> absl::Status {
    return client->puller == nullptr
               ? absl::InvalidArgumentError(
                     "the client is not open: see the error of sluice_client_open")
               : call(*client->puller);
  });
}

absl::StatusOr<std::string> Token(sluice_token_fn token, void* context) {
  // Most tokens fit at once; for others it is called a second time with as much room as it asked
  // for. Where the token has become longer in between, it is not cut, which would be another token.
  std::string text(1024, '\0');
  size_t size = token(context, text.data(), text.size());
  if (size > text.size() && size <= kTokenMax) {
    text.resize(size);
    size = token(context, text.data(), text.size());
  }
  if (size == 0 || size > text.size()) {
    return sluice::Error(absl::StatusCode::kUnauthenticated, "no_token",
                         size == 0 ? "the application has no token: sign in first"
                                   : "the application's token is longer than 64 KiB");
  }
  text.resize(size);
  return text;
}

absl::StatusOr<PullOptions> OptionsOf(const sluice_client_options* from) {
  // Before anything else of it is read: a program that was built with an older, smaller structure
  // has none of the later members behind it.
  if (from == nullptr || from->struct_size < sizeof(sluice_client_options) ||
      from->url == nullptr || from->org == nullptr || from->db_path == nullptr ||
      from->token == nullptr) {
    return absl::InvalidArgumentError(
        "options need sluice_client_options_init, url, org, db_path and token");
  }
  if (from->attempts_max <= 0 || from->backoff_first_ms <= 0 || from->backoff_max_ms <= 0 ||
      from->silence_max_ms <= 0) {
    return absl::InvalidArgumentError("attempts_max and the times have to be more than 0");
  }
  // Copies, so that the caller's texts need not outlive the call; but for the context, which it
  // says.
  PullOptions options;
  options.url = from->url;
  options.org = from->org;
  options.db_path = from->db_path;
  options.ca_file = from->ca_file == nullptr ? "" : from->ca_file;
  options.token = [token = from->token, context = from->token_context] {
    return Token(token, context);
  };
  options.attempts_max = from->attempts_max;
  options.backoff_first = std::chrono::milliseconds(from->backoff_first_ms);
  options.backoff_max = std::chrono::milliseconds(from->backoff_max_ms);
  options.silence_max = std::chrono::milliseconds(from->silence_max_ms);
  return options;
}

sluice_pull_result ResultOf(const PullResult& from) {
  sluice_pull_result result = {};
  result.position = from.position;
  result.checkpoints = from.checkpoints;
  result.rows_put = from.rows_put;
  result.rows_removed = from.rows_removed;
  result.bytes_received = from.bytes_received;
  result.buckets = from.buckets;
  result.buckets_reset = from.buckets_reset;
  result.buckets_reloaded = from.buckets_reloaded;
  result.reconnects = from.reconnects;
  return result;
}

}  // namespace

const char* sluice_client_version(void) { return SLUICE_CLIENT_VERSION; }

void sluice_client_options_init(sluice_client_options* options) {
  if (options == nullptr) {
    return;
  }
  const PullOptions defaults;
  *options = {};
  options->struct_size = sizeof(*options);
  options->attempts_max = defaults.attempts_max;
  options->backoff_first_ms = defaults.backoff_first.count();
  options->backoff_max_ms = defaults.backoff_max.count();
  options->silence_max_ms = defaults.silence_max.count();
}

sluice_code sluice_client_open(const sluice_client_options* options, sluice_client** client) {
  if (client == nullptr) {
    return SLUICE_INVALID;
  }
  // The handle comes before all that may fail, because the reason is asked of it.
  *client = new (std::nothrow) sluice_client;
  if (*client == nullptr) {
    return SLUICE_INTERNAL;
  }
  return Guarded(*client, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(PullOptions ours, OptionsOf(options));
    ASSIGN_OR_RETURN((*client)->puller, Puller::Open(std::move(ours)));
    return absl::OkStatus();
  });
}

void sluice_client_on_progress(sluice_client* client, sluice_progress_fn callback, void* context) {
  if (client == nullptr || client->puller == nullptr) {
    return;
  }
  if (callback == nullptr) {
    client->puller->OnProgress(nullptr);
    return;
  }
  // Replaces the one of before at once, so that its context may be freed on return.
  client->puller->OnProgress([callback, context](const PullProgress& now) {
    const sluice_pull_progress progress = {now.rows_done, now.rows_total, now.bytes_received};
    callback(context, &progress);
  });
}

sluice_code sluice_client_pull(sluice_client* client, sluice_pull_result* result) {
  return WithPuller(client, [&](Puller& puller) -> absl::Status {
    ASSIGN_OR_RETURN(const PullResult ours, puller.Pull());
    if (result != nullptr) {
      *result = ResultOf(ours);
    }
    return absl::OkStatus();
  });
}

sluice_code sluice_client_follow(sluice_client* client, sluice_checkpoint_fn on_checkpoint,
                                 void* context) {
  return WithPuller(client, [&](Puller& puller) {
    return puller.Follow([on_checkpoint, context](const PullResult& ours) {
      if (on_checkpoint != nullptr) {
        const sluice_pull_result result = ResultOf(ours);
        on_checkpoint(context, &result);
      }
    });
  });
}

sluice_code sluice_client_wipe(sluice_client* client) {
  return WithPuller(client, [](Puller& puller) { return puller.Wipe(); });
}

// Touches nothing but the puller, which takes it from any thread: the texts of the last error
// belong to the thread that pulls.
void sluice_client_cancel(sluice_client* client) {
  if (client != nullptr && client->puller != nullptr) {
    client->puller->Cancel();
  }
}

const char* sluice_client_error_code(const sluice_client* client) {
  return client == nullptr ? "" : client->error_code.c_str();
}

const char* sluice_client_error_message(const sluice_client* client) {
  return client == nullptr ? "" : client->error_message.c_str();
}

// Gives the file's lock back last, when nothing can be written to it any more (LocalDatabase).
void sluice_client_close(sluice_client* client) { delete client; }
