import { HttpMethod, IsomorphicFetchHttpLibrary, KubeConfig, RequestContext } from '@kubernetes/client-node';

type Dispatcher = NonNullable<ReturnType<RequestContext['getDispatcher']>>;
type Interceptor = Parameters<Dispatcher['compose']>[0] extends infer T
  ? Extract<T, (...args: never[]) => unknown>
  : never;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Request = {
  method: Method;
  /** Including its query. */
  path: string;
  body?: string;
  contentType?: string;
  signal: AbortSignal;
  /** Called just before the request is written to its socket. If it throws, the request is not sent. */
  beforeSend?: () => void;
};
export type Answer = {
  status: number;
  headers: Record<string, string>;
  text: () => Promise<string>;
  stream: () => unknown;
};

/** Sends requests; tests replace it. */
export interface Transport {
  /** The namespace of the credentials. */
  readonly namespace: string;
  /** Sends a request. Rejects only if there was no response. */
  send(request: Request): Promise<Answer>;
}

/** Identifies the operator in the audit log of the API server. */
const USER_AGENT = 'pushcluster-operator';

/**
 * A connection to an API server with the address, certificates and credentials of a KubeConfig, over keep-alive
 * sockets.
 */
export class Connection implements Transport {
  /** `https://…` */
  readonly server: string;
  /** The namespace of the credentials: the pod's own inside a cluster. */
  readonly namespace: string;
  readonly #config: PooledConfig;
  readonly #http = new IsomorphicFetchHttpLibrary();

  constructor(config: PooledConfig) {
    const server = config.getCurrentCluster()?.server;
    if (!server) throw new Error('the kubeconfig has no current context with a cluster: set one, or set KUBECONFIG');
    this.server = server.replace(/\/$/, '');
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
    this.#config = config;
  }

  async send({ method, path, body, contentType, signal, beforeSend }: Request): Promise<Answer> {
    const context = new RequestContext(`${this.server}${path}`, HttpMethod[method]);
    context.setHeaderParam('Accept', 'application/json');
    context.setHeaderParam('User-Agent', USER_AGENT);
    if (body !== undefined) {
      context.setHeaderParam('Content-Type', contentType ?? 'application/json');
      context.setBody(body);
    }
    context.setSignal(signal);
    await this.#config.applySecurityAuthentication(context);
    if (beforeSend) {
      beforeSend();
      const dispatcher = context.getDispatcher();
      if (dispatcher) context.setDispatcher(dispatcher.compose(guarding(beforeSend)));
    }
    const response = await this.#http.send(context).toPromise();
    return {
      status: response.httpStatusCode,
      headers: response.headers,
      text: () => response.body.text(),
      stream: () => response.body.stream(),
    };
  }
}

/** Connects with $KUBECONFIG, otherwise as a pod of the cluster. @throws Error if there is neither */
export function connect(environment: NodeJS.ProcessEnv = process.env): Connection {
  const config = new PooledConfig();
  if (environment.KUBECONFIG) config.loadFromFile(environment.KUBECONFIG);
  else if (environment.KUBERNETES_SERVICE_HOST) config.loadFromCluster();
  else throw new Error('no Kubernetes cluster found: run in a pod with a service account, or set KUBECONFIG');
  return new Connection(config);
}

/** A KubeConfig with one pool of connections. The base class opens a new one for each request. */
class PooledConfig extends KubeConfig {
  #key: string | undefined;
  #dispatcher: Dispatcher | undefined;

  override createDispatcherOptions(
    ...args: Parameters<KubeConfig['createDispatcherOptions']>
  ): ReturnType<KubeConfig['createDispatcherOptions']> {
    const options = super.createDispatcherOptions(...args);
    if (options.type === 'none') return options;
    // Certificates are read from their files each time. When they were rotated, the options differ and a new pool is
    // made.
    const key = JSON.stringify(options);
    if (key === this.#key) return { type: 'none' };
    this.#key = key;
    if (options.type !== 'agent') return options;
    // With HTTP/2, all watches would share one connection, and one that hangs would block them.
    return { ...options, connect: Object.assign(options.connect, { allowH2: false }) };
  }

  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    await super.applySecurityAuthentication(context);
    const made = context.getDispatcher();
    if (made) {
      // Requests on the previous pool may finish.
      void this.#dispatcher?.close();
      this.#dispatcher = made;
    } else if (this.#dispatcher) context.setDispatcher(this.#dispatcher);
  }
}

/** Calls the guard again once a connection is open: the process may have been stopped while it waited for one. */
function guarding(beforeSend: () => void): Interceptor {
  return (dispatch) => (options, handler) => {
    const guarded: typeof handler = Object.create(handler);
    guarded.onRequestStart = function (controller, context) {
      beforeSend();
      handler.onRequestStart?.call(this, controller, context);
    };
    return dispatch(options, guarded);
  };
}
