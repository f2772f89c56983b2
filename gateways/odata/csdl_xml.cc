#include "gateways/odata/csdl_xml.h"

#include <expat.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr char kSeparator = '|';  // between namespace and name, as Expat gives them
constexpr std::string_view kEdmx = "http://docs.oasis-open.org/odata/ns/edmx";
constexpr std::string_view kEdm = "http://docs.oasis-open.org/odata/ns/edm";
constexpr size_t kPieceMax = size_t{64} << 10;  // Expat counts in int
constexpr size_t kTagBytesMax = size_t{1} << 20;

enum class Element : uint8_t {
  kDocument,  // what is around the first element
  kEdmxRoot,
  kReference,
  kInclude,
  kDataServices,
  kSchema,
  kStructure,
  kKey,
  kPropertyRef,
  kProperty,
  kNavigation,
  kConstraint,
  kEnumType,
  kMember,
  kTypeDefinition,
  kContainer,
  kEntitySet,
  kBinding,
  kOther,  // and all within it
};

struct Place {
  Element parent;
  std::string_view space;
  std::string_view name;
  Element element;
};

constexpr Place kPlaces[] = {
    {Element::kDocument, kEdmx, "Edmx", Element::kEdmxRoot},
    {Element::kEdmxRoot, kEdmx, "Reference", Element::kReference},
    {Element::kReference, kEdmx, "Include", Element::kInclude},
    {Element::kEdmxRoot, kEdmx, "DataServices", Element::kDataServices},
    {Element::kDataServices, kEdm, "Schema", Element::kSchema},
    {Element::kSchema, kEdm, "EntityType", Element::kStructure},
    {Element::kSchema, kEdm, "ComplexType", Element::kStructure},
    {Element::kStructure, kEdm, "Key", Element::kKey},
    {Element::kKey, kEdm, "PropertyRef", Element::kPropertyRef},
    {Element::kStructure, kEdm, "Property", Element::kProperty},
    {Element::kStructure, kEdm, "NavigationProperty", Element::kNavigation},
    {Element::kNavigation, kEdm, "ReferentialConstraint", Element::kConstraint},
    {Element::kSchema, kEdm, "EnumType", Element::kEnumType},
    {Element::kEnumType, kEdm, "Member", Element::kMember},
    {Element::kSchema, kEdm, "TypeDefinition", Element::kTypeDefinition},
    {Element::kSchema, kEdm, "EntityContainer", Element::kContainer},
    {Element::kContainer, kEdm, "EntitySet", Element::kEntitySet},
    {Element::kEntitySet, kEdm, "NavigationPropertyBinding", Element::kBinding},
};

// An element's attributes: a list of names and values that ends with a null pointer.
class Attributes {
 public:
  explicit Attributes(const XML_Char** list) : list_(list) {}

  // Empty where there is none of that name.
  std::string_view Find(std::string_view name) const {
    for (const XML_Char** at = list_; *at != nullptr; at += 2) {
      if (name == at[0]) {
        return at[1];
      }
    }
    return {};
  }
  bool IsTrue(std::string_view name) const { return Find(name) == "true" || Find(name) == "1"; }
  std::optional<uint32_t> Number(std::string_view name) const {
    const std::string_view text = Find(name);
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return !text.empty() && error == std::errc() && end == text.data() + text.size()
               ? std::optional(number)
               : std::nullopt;
  }

 private:
  const XML_Char** list_;
};

struct FreeParser {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

}  // namespace

struct CsdlXmlReader::Impl {
  Impl();

  static void XMLCALL OnStart(void* self, const XML_Char* name, const XML_Char** attributes);
  static void XMLCALL OnEnd(void* self, const XML_Char* name);
  static void XMLCALL OnDoctype(void* self, const XML_Char*, const XML_Char*, const XML_Char*, int);

  absl::Status Parse(const char* text, size_t size, bool last);
  void Fail(absl::Status why);
  absl::Status Open(std::string_view space, std::string_view name, const Attributes& attributes);
  absl::Status Enter(Element element, std::string_view name, const Attributes& attributes);
  absl::Status EnterType(Element element, std::string_view name, const Attributes& attributes);
  absl::Status EnterPart(Element element, const Attributes& attributes);
  absl::Status EnterMember(const Attributes& attributes);
  absl::Status EnterSchema(const Attributes& attributes);

  // The value of an attribute that must be there.
  absl::StatusOr<std::string> Need(const Attributes& attributes, std::string_view name) const;

  std::unique_ptr<XML_ParserStruct, FreeParser> parser;
  absl::Status status;
  std::vector<Element> open{Element::kDocument};
  CsdlCount count;
  Csdl csdl;
  std::string space;                   // of the open schema
  CsdlStructure* structure = nullptr;  // the open one
  CsdlEnum* enumeration = nullptr;     // the open one
  bool has_services = false;
  size_t bytes_in_tag = 0;  // fed since the last begin or end of an element, in whole pieces
};

CsdlXmlReader::Impl::Impl() : parser(XML_ParserCreateNS(nullptr, kSeparator)) {
  XML_SetUserData(parser.get(), this);
  XML_SetElementHandler(parser.get(), &OnStart, &OnEnd);
  XML_SetStartDoctypeDeclHandler(parser.get(), &OnDoctype);
}

void CsdlXmlReader::Impl::Fail(absl::Status why) {
  if (status.ok()) {
    status = Annotate(why, fmt::format("line {}", XML_GetCurrentLineNumber(parser.get())));
    XML_StopParser(parser.get(), XML_FALSE);
  }
}

void CsdlXmlReader::Impl::OnDoctype(void* self, const XML_Char* name, const XML_Char*,
                                    const XML_Char*, int) {
  static_cast<Impl*>(self)->Fail(MetadataInvalid(fmt::format(
      "has a document type, {}, as no metadata has", QuoteForError(name == nullptr ? "" : name))));
}

void CsdlXmlReader::Impl::OnStart(void* self, const XML_Char* full, const XML_Char** attributes) {
  auto& impl = *static_cast<Impl*>(self);
  impl.bytes_in_tag = 0;
  if (!impl.status.ok()) {
    return;  // Expat may give more of what it has read
  }
  const std::string_view name(full);
  const size_t separator = name.rfind(kSeparator);
  const bool has_space = separator != std::string_view::npos;
  absl::Status opened =
      impl.Open(has_space ? name.substr(0, separator) : std::string_view(),
                has_space ? name.substr(separator + 1) : name, Attributes(attributes));
  if (!opened.ok()) {
    impl.Fail(std::move(opened));
  }
}

void CsdlXmlReader::Impl::OnEnd(void* self, const XML_Char*) {
  auto& impl = *static_cast<Impl*>(self);
  impl.bytes_in_tag = 0;
  if (impl.status.ok()) {
    impl.open.pop_back();
  }
}

absl::Status CsdlXmlReader::Impl::Open(std::string_view of, std::string_view name,
                                       const Attributes& attributes) {
  if (open.size() > kCsdlDepthMax) {
    return MetadataInvalid(fmt::format("is nested deeper than {}", kCsdlDepthMax));
  }
  const auto* const place = std::ranges::find_if(kPlaces, [&](const Place& candidate) {
    return candidate.parent == open.back() && candidate.space == of && candidate.name == name;
  });
  const Element element = place == std::end(kPlaces) ? Element::kOther : place->element;
  if (open.back() == Element::kDocument && element != Element::kEdmxRoot) {
    return MetadataInvalid(
        name == "Edmx" ? "is of an OData version before 4.0"
                       : fmt::format("is none: its first element is {}", QuoteForError(name)));
  }
  RETURN_IF_ERROR(Enter(element, name, attributes));
  open.push_back(element);
  return absl::OkStatus();
}

absl::StatusOr<std::string> CsdlXmlReader::Impl::Need(const Attributes& attributes,
                                                      std::string_view name) const {
  const std::string_view value = attributes.Find(name);
  return value.empty() ? absl::StatusOr<std::string>(
                             MetadataInvalid(fmt::format("lacks an attribute {}", name)))
                       : std::string(value);
}

absl::Status CsdlXmlReader::Impl::EnterSchema(const Attributes& attributes) {
  ASSIGN_OR_RETURN(space, Need(attributes, "Namespace"));
  RETURN_IF_ERROR(CheckCsdlName(space));
  if (const std::string_view alias = attributes.Find("Alias"); !alias.empty()) {
    csdl.aliases.emplace(alias, space);
  }
  return absl::OkStatus();
}

absl::Status CsdlXmlReader::Impl::EnterMember(const Attributes& attributes) {
  RETURN_IF_ERROR(count.AddMember());
  ASSIGN_OR_RETURN(std::string name, Need(attributes, "Name"));
  auto& members = enumeration->members;
  // One more than the one before it, where it says nothing.
  auto value =
      members.empty() ? 0 : static_cast<int64_t>(static_cast<uint64_t>(members.back().second) + 1);
  const std::string_view text = attributes.Find("Value");
  if (!text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      return MetadataInvalid("has a member of an enumeration whose value is no number");
    }
  }
  members.emplace_back(std::move(name), value);
  return absl::OkStatus();
}

absl::Status CsdlXmlReader::Impl::EnterType(Element element, std::string_view name,
                                            const Attributes& attributes) {
  RETURN_IF_ERROR(count.AddMember());
  ASSIGN_OR_RETURN(const std::string own, Need(attributes, "Name"));
  const std::string qualified = fmt::format("{}.{}", space, own);
  if (element == Element::kStructure) {
    structure = &csdl.structures[qualified];
    *structure = CsdlStructure();
    structure->is_entity = name == "EntityType";
    structure->is_abstract = attributes.IsTrue("Abstract");
    structure->base = std::string(attributes.Find("BaseType"));
  } else if (element == Element::kEnumType) {
    enumeration = &csdl.enums[qualified];
    *enumeration = CsdlEnum{attributes.IsTrue("IsFlags"), {}};
  } else {
    CsdlTypeDefinition& definition = csdl.definitions[qualified];
    ASSIGN_OR_RETURN(definition.underlying, Need(attributes, "UnderlyingType"));
    definition.precision = attributes.Number("Precision");
  }
  return absl::OkStatus();
}

absl::Status CsdlXmlReader::Impl::EnterPart(Element element, const Attributes& attributes) {
  RETURN_IF_ERROR(count.AddMember());
  if (element == Element::kConstraint) {
    CsdlConstraint& constraint = structure->navigations.back().constraints.emplace_back();
    ASSIGN_OR_RETURN(constraint.property, Need(attributes, "Property"));
    ASSIGN_OR_RETURN(constraint.referenced, Need(attributes, "ReferencedProperty"));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::string name, Need(attributes, "Name"));
  if (element == Element::kPropertyRef) {
    structure->key.push_back({std::move(name), std::string(attributes.Find("Alias"))});
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string type, Need(attributes, "Type"));
  auto [item, collection] = SplitCollection(type);
  if (element == Element::kProperty) {
    structure->properties.push_back(
        {std::move(name), std::move(item), collection, attributes.Number("Precision")});
  } else {
    structure->navigations.push_back({std::move(name), std::move(item), collection, {}});
  }
  return absl::OkStatus();
}

absl::Status CsdlXmlReader::Impl::Enter(Element element, std::string_view name,
                                        const Attributes& attributes) {
  switch (element) {
    case Element::kDataServices:
      has_services = true;
      return absl::OkStatus();
    case Element::kInclude:
      if (const std::string_view alias = attributes.Find("Alias"); !alias.empty()) {
        csdl.aliases.emplace(alias, attributes.Find("Namespace"));
      }
      return absl::OkStatus();
    case Element::kSchema:
      return EnterSchema(attributes);
    case Element::kStructure:
    case Element::kEnumType:
    case Element::kTypeDefinition:
      return EnterType(element, name, attributes);
    case Element::kPropertyRef:
    case Element::kProperty:
    case Element::kNavigation:
    case Element::kConstraint:
      return EnterPart(element, attributes);
    case Element::kMember:
      return EnterMember(attributes);
    case Element::kEntitySet: {
      RETURN_IF_ERROR(count.AddSet());
      CsdlEntitySet& set = csdl.sets.emplace_back();
      ASSIGN_OR_RETURN(set.name, Need(attributes, "Name"));
      ASSIGN_OR_RETURN(set.type, Need(attributes, "EntityType"));
      return absl::OkStatus();
    }
    case Element::kBinding: {
      RETURN_IF_ERROR(count.AddMember());
      ASSIGN_OR_RETURN(const std::string path, Need(attributes, "Path"));
      ASSIGN_OR_RETURN(csdl.sets.back().bindings[path], Need(attributes, "Target"));
      return absl::OkStatus();
    }
    default:
      return absl::OkStatus();
  }
}

absl::Status CsdlXmlReader::Impl::Parse(const char* text, size_t size, bool last) {
  // Expat reads a tag that is not whole from its begin again with each piece.
  bytes_in_tag += size;
  if (bytes_in_tag > kTagBytesMax) {
    status = MetadataInvalid(fmt::format("has more than {} bytes in one tag", kTagBytesMax));
    return status;
  }
  const XML_Status parsed =
      XML_Parse(parser.get(), text, static_cast<int>(size), last ? XML_TRUE : XML_FALSE);
  if (parsed != XML_STATUS_OK && status.ok()) {
    status = MetadataInvalid(fmt::format("is no XML: line {}: {}",
                                         XML_GetCurrentLineNumber(parser.get()),
                                         XML_ErrorString(XML_GetErrorCode(parser.get()))));
  }
  return status;
}

CsdlXmlReader::CsdlXmlReader() : impl_(std::make_unique<Impl>()) {}
CsdlXmlReader::~CsdlXmlReader() = default;

absl::Status CsdlXmlReader::Feed(std::string_view piece) {
  if (impl_->status.ok()) {
    impl_->status = impl_->count.AddBytes(piece.size());
  }
  while (impl_->status.ok() && !piece.empty()) {
    const size_t size = std::min(piece.size(), kPieceMax);
    RETURN_IF_ERROR(impl_->Parse(piece.data(), size, false));
    piece.remove_prefix(size);
  }
  return impl_->status;
}

absl::StatusOr<Csdl> CsdlXmlReader::Finish() {
  RETURN_IF_ERROR(impl_->status);
  RETURN_IF_ERROR(impl_->Parse(nullptr, 0, true));
  if (!impl_->has_services) {
    return MetadataInvalid("has no DataServices");
  }
  RETURN_IF_ERROR(CheckCsdlNames(impl_->csdl));
  return std::move(impl_->csdl);
}

}  // namespace sluice::gateways
