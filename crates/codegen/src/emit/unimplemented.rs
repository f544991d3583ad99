//! A base for tests and mocks, which have some of the operations.

use proc_macro2::TokenStream;
use quote::quote;

use super::server::{arguments, common_methods, error_type, is_secured, result};
use super::{doc, ident};
use crate::ir::Api;

pub(crate) fn emit(api: &Api) -> TokenStream {
    let here = quote! { server:: };
    let common = common_methods(api, &here, &quote! { From<RequestError> + Send });
    let secured = is_secured(api);
    let error = match &api.shared_errors {
        Some(_) => quote! { Self::Error },
        None => quote! { RequestError },
    };
    let caller = secured.then(|| quote! { caller: Option<Self::Caller>, });
    let unused = if secured {
        quote! { (caller, request) }
    } else {
        quote! { request }
    };
    let operations = api.operations.iter().map(|operation| {
        let (name, of) = (ident(&operation.name), ident(&operation.type_name));
        let arguments = arguments(operation, &quote! { Self::Caller }, &here);
        let result = result(api, operation, &quote! { Self }, &here);
        let (origin, who) = match (secured, operation.security.is_public()) {
            (true, false) if operation.security.is_optional => (None, quote! { caller, }),
            (true, true) => (Some(quote! { let _ = origin; }), quote! { None, }),
            (false, _) => (Some(quote! { let _ = origin; }), quote! {}),
            (true, false) => (None, quote! { Some(caller), }),
        };
        let docs = doc(&format!("`{} {}`", operation.method.verb(), operation.path));
        quote! {
            #docs
            fn #name(&self, #arguments) -> impl Future<Output = #result> + Send {
                #origin
                self.fallback::<operations::#of>(#who request)
            }
        }
    });
    let delegated = api.operations.iter().map(|operation| {
        let name = ident(&operation.name);
        let arguments = arguments(operation, &quote! { Self::Caller }, &here);
        let result = result(api, operation, &quote! { Self }, &here);
        let who = if operation.security.is_public() {
            quote! { origin }
        } else {
            quote! { caller }
        };
        quote! {
            fn #name(&self, #arguments) -> impl Future<Output = #result> + Send {
                Unimplemented::#name(self, #who, request)
            }
        }
    });
    let body = error_type(api);
    let types = secured.then(|| quote! { type Caller = <U as Unimplemented>::Caller; });
    let authenticate = secured.then(|| {
        quote! {
            fn authenticate(
                &self,
                origin: server::Origin,
                credentials: server::Credentials,
            ) -> impl Future<Output = Result<Self::Caller, RequestError>> + Send {
                Unimplemented::authenticate(self, origin, credentials)
            }
        }
    });
    let failing = api.shared_errors.as_ref().map(|_| {
        quote! {
            type Error = <U as Unimplemented>::Error;
            fn error(&self, error: Self::Error, origin: &server::Origin) -> server::Failure {
                Unimplemented::error(self, error, origin)
            }
        }
    });
    quote! {
        use std::future::Future;

        pub use super::runtime::Operation;
        use super::{operations, server, types};
        use server::RequestError;

        /// The operations, each of which answers 501 until it is overridden: a base for tests and mocks.
        ///
        /// What implements this trait implements [`Api`](server::Api). A server implements that one directly, which
        /// has no default to fall back to.
        pub trait Unimplemented: Send + Sync + 'static {
            #common

            /// Answers the operations that are not overridden.
            fn fallback<O: Operation>(
                &self,
                #caller
                request: O::Request,
            ) -> impl Future<Output = Result<O::Success, #error>> + Send {
                let _ = #unused;
                std::future::ready(Err(RequestError::NotImplemented.into()))
            }

            #(#operations)*
        }

        impl<U: Unimplemented> server::Api for U {
            #types
            #authenticate
            fn request_error(&self, error: &RequestError) -> #body {
                Unimplemented::request_error(self, error)
            }
            #failing
            #(#delegated)*
        }
    }
}
