import fc from 'fast-check';

const name = fc.stringMatching(/^[a-z]([-a-z0-9]{0,20}[a-z0-9])?$/);
const annotations = fc.dictionary(name, fc.string({ maxLength: 40 }), { maxKeys: 3 });
/** What a namespace of the level restricted asks of a container. */
const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
/**
 * A pod template with things that any role may have, and that a namespace of the level restricted admits.
 * @param role the name of the operator's container
 */
export function anyPodTemplate(role: string) {
  const volumes = [{ name: 'more', emptyDir: {} }];
  const initContainers = [{ name: 'first', image: 'first:1', securityContext: restricted }];
  const containers = [
    { name: role, env: [{ name: 'ADDED', value: 'yes' }], resources: { limits: { 'example.com/a': 1 } } },
    { name: 'beside', image: 'beside:1', securityContext: restricted, ports: [{ containerPort: 15_090 }] },
  ];
  return fc.record(
    {
      metadata: fc.record({ labels: fc.dictionary(name, name, { maxKeys: 2 }), annotations }, { requiredKeys: [] }),
      spec: fc.record(
        {
          volumes: fc.constant(volumes),
          dnsConfig: fc.record({ nameservers: fc.constant(['192.0.2.1']) }),
          hostAliases: fc.constant([{ ip: '192.0.2.2', hostnames: ['bus'] }]),
          nodeSelector: fc.dictionary(name, name, { maxKeys: 2 }),
          tolerations: fc.array(fc.record({ key: name, operator: fc.constant('Exists') }), { maxLength: 2 }),
          securityContext: fc.record({ runAsUser: fc.constantFrom(7, null), fsGroup: fc.constantFrom(8, null) }),
          containers: fc.subarray(containers),
          initContainers: fc.constant(initContainers),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );
}
