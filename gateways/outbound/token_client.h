#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "gateways/outbound/outbound_client.h"
#include "gateways/secrets/secret_text.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Where access tokens come from: an OAuth 2 token endpoint (RFC 6749, section 4.4).
struct TokenEndpoint {
  std::string url;
  std::string client_id;
  std::string scope;  // empty: none is named
};

// Access tokens by client credentials, for one run of one source. The client's name and secret go
// in the Authorization header, as every server must take them (RFC 6749, section 2.3.1). Not
// thread-safe.
class TokenClient {
 public:
  // `outbound`, `clock` and `secret` must outlive this.
  TokenClient(OutboundClient& outbound, const Clock& clock, TokenEndpoint endpoint,
              const SecretText& secret);

  // The value of an Authorization header. The token at hand, or a new one from a minute before it
  // ends (half its life, where that is less), by the steady clock from when it was asked for.
  // kFailedPrecondition, code "source_unauthorized", where the server refuses the client, with the
  // server's error code; kUnavailable, "source_answer_invalid", for an answer that is no token, and
  // what OutboundClient::Send returns. Messages hold nothing that the server sent but that code.
  [[nodiscard]] absl::StatusOr<std::string> Authorization(const std::function<bool()>& stopping);

  // The source has refused the token: the next Authorization() asks for another.
  void Forget();

 private:
  absl::Status Fetch(const std::function<bool()>& stopping);

  OutboundClient& outbound_;
  const Clock& clock_;
  const TokenEndpoint endpoint_;
  const SecretText& secret_;
  SecretText authorization_;  // empty: none at hand
  SteadyTime renew_at_{};
};

// The value of an Authorization header with a name and a password (RFC 7617).
[[nodiscard]] std::string BasicAuthorization(std::string_view user, const SecretText& password);

}  // namespace sluice::gateways
