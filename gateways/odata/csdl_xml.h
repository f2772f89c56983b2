#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/odata/csdl.h"

namespace sluice::gateways {

// Reads CSDL XML (OData 4.0 and 4.01) as it comes; nothing but the model is kept. A document type
// declaration ends it, so that no entity is ever defined or fetched. Errors are
// kFailedPrecondition, code "metadata_invalid", with the line. Used by one thread at a time.
class CsdlXmlReader {
 public:
  CsdlXmlReader();
  ~CsdlXmlReader();

  // After an error every further call returns it.
  [[nodiscard]] absl::Status Feed(std::string_view piece);
  // The document has ended. Once.
  [[nodiscard]] absl::StatusOr<Csdl> Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
