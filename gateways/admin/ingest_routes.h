#pragma once

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/ingest_service.h"
#include "gateways/admin/ingest_session.h"
#include "gateways/admin/request_context.h"

namespace sluice::gateways {

// POST /v1/orgs/{org}/changes (API section 2). Thread-safe.
class IngestRoutes {
 public:
  IngestRoutes(IngestService& service, const AppliedWait& applied)
      : service_(service), applied_(applied) {}

  [[nodiscard]] absl::StatusOr<HttpResponse> Post(RequestContext& context) const;

 private:
  absl::StatusOr<HttpResponse> PostLines(IngestSession& session, HttpRequest& http) const;
  absl::StatusOr<HttpResponse> PostJson(IngestSession& session, HttpRequest& http) const;

  IngestService& service_;
  const AppliedWait& applied_;
};

}  // namespace sluice::gateways
